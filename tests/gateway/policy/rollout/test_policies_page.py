"""The pages about policies say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import policy_engine as pe
from gateway.errors import REASONS
from gateway.policy.bundle import manifest
from gateway.policy.decision import PRECEDENCE, read
from gateway.policy.obligations import HEADERS

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/reference/policies.md").read_text("utf-8")
WRITING = (ROOT / "docs/how-to/policies/writing-policies.md").read_text("utf-8")
ROLLING_OUT = (ROOT / "docs/how-to/policies/rolling-out.md").read_text("utf-8")


def section(title: str, page: str = PAGE) -> str:
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def first_column(text: str) -> list[str]:
    """The names in the first column of a table, in order."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_its_example_does_what_it_says() -> None:
    [source] = [block for block in blocks("rego", WRITING) if block.startswith("package")]
    document = pe.compile({"authz.rego": source}).entrypoint("data.research.authz", strict_builtin_errors=True)
    assert document({"resource": {"model": "gpt-4o"}}) == {"_model_listed": True, "allow": True, "deny": []}
    assert document({}) == {"allow": False, "deny": ["the model is not on the list"]}


def test_its_obligations_are_those_of_its_example() -> None:
    [source] = [block for block in blocks("rego") if block.startswith("package")]
    document = pe.compile({"authz.rego": source}).entrypoint("data.research.authz", strict_builtin_errors=True)
    tools = [{"type": "function", "name": name} for name in ("find", "delete_all")]
    asked = {"agent": {"environment": "dev"}, "resource": {"model": "gpt-4o"}, "request": {"tools": tools}}
    verdict = read(document(asked), "grant")
    assert verdict.code == "allowed"
    assert verdict.obligations.document() == {
        "max_output_tokens": 2000,
        "model": "gpt-4o-mini",
        "strip_tools": ["delete_all"],
        "set_headers": {"x-data-class": "internal"},
    }
    listed = section("What a policy answers").split("### Obligations")[1].split("###")[0]
    assert set(first_column(listed)) == {"max_output_tokens", "strip_tools", "model", "set_headers"}
    names = listed.split("these headers and no others:")[1].split(".\n")[0].split("They label")[0]
    assert set(re.findall(r"`([a-z-]+)`", names)) == HEADERS


def test_its_manifest_is_one() -> None:
    [text] = blocks("json")
    assert manifest(text.encode(), "research").entrypoint == "data.research.authz"


def test_its_members_are_the_schemas() -> None:
    schema = json.loads((ROOT / "schemas" / "input.schema.json").read_text("utf-8"))
    listed = first_column(section("What a policy sees"))
    named = {name.removeprefix("input.") for name in listed if name.startswith("input.")}
    assert named == set(schema["properties"])
    text = section("What a policy sees")
    for document in ("agent", "resource", "request"):
        left_out = {"delegation", "params", "agent"}  # reserved, or nothing yet
        for member in schema["$defs"][document]["properties"].keys() - left_out:
            assert f"`{member}`" in text, f"{document}.{member}"


def test_its_codes_are_in_the_order_that_decides() -> None:
    codes = first_column(section("How answers combine"))
    assert codes == ["no_policy", *PRECEDENCE]
    assert [code for code in codes if REASONS[code].status != 403] == ["policy_not_loaded"]


def test_its_outcomes_are_the_codes() -> None:
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "gateway" / "policy").rglob("*.py")))
    listed = set(first_column(section("From a commit into force", ROLLING_OUT)))
    assert len(listed) > 10
    produced = set(re.findall(r'Problem\(\s*"(\w+)"', code)) | {"bad_decision", "unsupported"}
    assert produced <= listed
    assert [outcome for outcome in listed - {"bad_decision", "unsupported"} if f'"{outcome}"' not in code] == []
