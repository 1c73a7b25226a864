"""The import law: which file may import which, checked over the real import graph of both packages.

The rooms of the gateway are its folders. They form a list: a file imports its own room or one that stands before it.
The engine has layers: a file imports its own layer or a lower one. No file imports itself in the end, and some packages
have a stricter law of their own. The graph holds every import statement of every file, also those inside functions and
under `if TYPE_CHECKING:`. Importing late is a way to start fast, not a way around a room.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS: tuple[str, ...] = (
    "errors",
    "frozen",
    "shares",
    "shared_threads",
    "pace",
    "identifiers",
    "remotes",
    "ownership",
    "data_directory",
    "settings",
    "logs",
    "pauses",
    "marks",
    "body",
    "call",
    "storage",
    "secrets",
    "telemetry",
    "outbound",
    "identity",
    "client",
    "audit",
    "usage",
    "mcp",
    "a2a",
    "registry",
    "runtime",
    "webhooks",
    "policy",
    "approvals",
    "upstream",
    "http",
    "dataplane",
    "tokens",
    "control",
    "processes",
    "management",
    "demo",
    "cli",
    "__main__",
)
"""The folders of `gateway/`, and the files beside them. Each may import those before it."""

# The longest matching prefix decides; a package's own `__init__` counts with its files unless it has a row.
ENGINE_LAYERS: dict[str, int] = {
    "policy_engine": 4,  # the public names
    "policy_engine.errors": 0,
    "policy_engine.location": 0,
    "policy_engine.values": 0,
    "policy_engine.types": 0,
    "policy_engine.unicode15": 0,
    "policy_engine.private_files": 0,
    "policy_engine.syntax": 1,
    "policy_engine.builtins": 1,
    "policy_engine.compiler": 2,
    "policy_engine.codegen": 3,
    "policy_engine.bundle": 4,
    "policy_engine.bundle_files": 1,
    "policy_engine.bundle_signatures": 2,
    "policy_engine.documents": 2,
    "policy_engine.cache": 1,
    "policy_engine.domains": 1,
    "policy_engine.facts": 4,
    "policy_engine.impossible": 4,
    "policy_engine.impossible_texts": 4,
    "policy_engine.members": 4,
    "policy_engine.explanation": 4,
    "policy_engine.queries": 4,
    "policy_engine.compiled": 4,
    "policy_engine.engine": 4,
    "policy_engine.testing": 5,
    "policy_engine.reports": 6,
    "policy_engine.cli": 7,
}

ENGINE_DOORS = {
    "gateway.policy.cache",
    "gateway.policy.authorization",
    "gateway.policy.input_schema",
    "gateway.policy.reexecution",
    "gateway.policy.rollout.check",
    "gateway.policy.rollout.decision_types",
    "gateway.policy.rollout.doomed",
    "gateway.policy.rollout.sync",
    "gateway.cli.policies",  # prints reports as `policy` does
}
PURE_AUDIT = {f"gateway.audit.{name}" for name in ("errors", "entry", "merkle", "tiles", "checkpoint", "note")}
SQLITE = {f"gateway.audit.{name}" for name in ("storage", "balance_rows", "transaction", "sqlite_log")} | {
    "gateway.approvals.asking",
    "gateway.registry.credential_rows",
    "gateway.registry.database",
    "gateway.registry.reader",
    "gateway.registry.history.zones",
    "gateway.runtime.store",
    "gateway.usage.rollup",
    "gateway.processes.backup",  # copies whole files
    "gateway.processes.creation",  # says why a file cannot be created
    "gateway.demo.demonstration",  # tampers with a log
}
OPTIONAL = {"openai", "genai_prices", "opentelemetry", "httpx2", "_typeshed", "dulwich"}
"""Of extras, or for type checkers only: what imports them says what to install."""
BROUGHT_BY = {"pydantic": "sqlmodel", "sqlalchemy": "sqlmodel", "urllib3": "dulwich"}
"""The interface of a declared package."""
HEAVY = {"sqlmodel", "sqlalchemy", "alembic", "jinja2", "typer", "rich", "dulwich", "prometheus_client"}


class Import(NamedTuple):
    """One import statement: `source` names `target`; `lazy` ones stand inside a function."""

    source: str
    target: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.source} (line {self.line}) imports {self.target}"


@functools.cache
def files() -> dict[str, Path]:
    """Every module of both packages by its dotted name."""
    found = {}
    for package in ("policy_engine", "gateway"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports() -> tuple[Import, ...]:
    return tuple(
        found for module, path in files().items() for found in _imports_of(module, ast.parse(path.read_text("utf-8")))
    )


def _imports_of(module: str, tree: ast.AST, lazy: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute, so that they can be searched for"
            for alias in node.names:
                # `from policy_engine import values` names a module, `from policy_engine.values import Set` a member.
                inner = f"{base}.{alias.name}"
                yield Import(module, inner if inner in files() else base, node.lineno, lazy)
        else:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports_of(module, node, inside)


def internal() -> list[Import]:
    return [found for found in imports() if found.target in files() and found.target != found.source]


def layer(module: str) -> int:
    if within(module, "gateway"):
        return ROOMS.index(module.split(".")[1]) if "." in module else 0  # gateway/__init__.py is empty
    prefix = module
    while prefix not in ENGINE_LAYERS:
        prefix = prefix.rpartition(".")[0]
    return ENGINE_LAYERS[prefix]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def violations(found: list[Import]) -> str:
    return "\n".join(str(each) for each in found)


def test_the_graph_is_read_at_all() -> None:
    """Guards the other tests: an empty graph obeys every law."""
    assert len(files()) > 20
    assert any(each.target == "policy_engine.errors" for each in internal())
    assert any(within(each.target, "policy_engine") for each in internal() if within(each.source, "policy_engine.cli"))


def test_every_room_is_there() -> None:
    rooms = {module.split(".")[1] for module in files() if within(module, "gateway") and "." in module}
    layers = {module for module in files() if within(module, "policy_engine")}
    assert (set(ROOMS) - rooms, set(ENGINE_LAYERS) - layers) == (set(), set())


def test_every_file_has_a_place() -> None:
    """A new folder gets a place in `ROOMS`, a new module of the engine one in `ENGINE_LAYERS`: who may import it?"""
    rooms = [m for m in files() if within(m, "gateway") and "." in m and m.split(".")[1] not in ROOMS]
    layers = [m for m in files() if within(m, "policy_engine") and ".".join(m.split(".")[:2]) not in ENGINE_LAYERS]
    assert rooms + layers == []


def test_imports_point_down_or_sideways() -> None:
    # Each package has an order of its own; the next tests are about imports from one package into the other.
    within_one = [each for each in internal() if each.source.split(".")[0] == each.target.split(".")[0]]
    upward = [each for each in within_one if layer(each.target) > layer(each.source)]
    assert upward == [], violations(upward)


def test_builtins_know_nothing_but_values() -> None:
    """A builtin sees values and errors, never syntax trees: it could run in any engine.

    But for the ones that are about policies (rego.parse_module): those have to read them.
    """
    wrong = [
        each
        for each in internal()
        if within(each.source, "policy_engine.builtins")
        and each.source != "policy_engine.builtins.reflection"
        and not within(each.target, "policy_engine.builtins")
        and layer(each.target) > 0
    ]
    assert wrong == [], violations(wrong)


def test_the_engine_does_not_know_the_gateway() -> None:
    wrong = [each for each in imports() if within(each.source, "policy_engine") and within(each.target, "gateway")]
    assert wrong == [], violations(wrong)


def test_the_gateway_reaches_the_engine_through_its_doors() -> None:
    wrong = [
        each
        for each in imports()
        if within(each.source, "gateway") and within(each.target, "policy_engine") and each.source not in ENGINE_DOORS
    ]
    assert wrong == [], violations(wrong)


def test_the_log_format_stands_alone() -> None:
    """The pure files of the audit log must be readable, and reusable in a verifier, without the gateway."""
    allowed = PURE_AUDIT | {"gateway.errors"}
    wrong = [e for e in imports() if e.source in PURE_AUDIT and within(e.target, "gateway") and e.target not in allowed]
    assert wrong == [], violations(wrong)


def test_a_logger_is_named_after_its_file() -> None:
    """A filter by the name of a logger shows the lines of one file."""
    wrong = []
    for module, path in files().items():
        names = re.findall(r"^logger = logging\.getLogger\((.*)\)", path.read_text("utf-8"), re.MULTILINE)
        wrong += [f"{module}: {name}" for name in names if name != f'"{module}"']
    assert wrong == []


def test_few_files_know_where_the_log_is() -> None:
    knowing = {module for module, path in files().items() if ".audit_db" in path.read_text("utf-8")}
    assert {each for each in knowing if not within(each, "gateway.audit")} == {
        "gateway.processes.backup",
        "gateway.demo.demonstration",
    }


def test_few_files_know_which_database_it_is() -> None:
    """Everything else asks a port, so that the database can be another one later."""
    assert {each.source for each in imports() if each.target == "sqlite3"} - SQLITE == set()


def test_a_data_worker_stays_light() -> None:
    """A data worker imports at module level no ORM, templates, terminal or git libraries.

    A worker needs 52 MB so and 110 MB otherwise, and none of these belongs near a request.
    """
    edges: dict[str, set[str]] = {}
    for each in imports():
        if not each.lazy:
            edges.setdefault(each.source, set()).add(each.target)
    # Only the control process and the command line roll policies out.
    rooms = ("gateway.dataplane", "gateway.tokens", "gateway.http")
    start = [m for m in files() if any(within(m, room) for room in rooms) or m in ENGINE_DOORS]
    start = [m for m in start if m not in ("gateway.policy.rollout.sync", "gateway.cli.policies")]
    seen: set[str] = set()
    todo = list(start)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo.extend(edges.get(module, ()))
    assert {module for module in seen if module.split(".")[0] in HEAVY} == set()


def test_every_package_that_is_imported_is_declared() -> None:
    """An installation has all that it imports: in the tests' own environment nothing is ever missing.

    The engine has what needs no extra, and the gateway its own extra beside that.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = {"policy_engine": project["dependencies"]}
    asked["gateway"] = asked["policy_engine"] + project["optional-dependencies"]["gateway"]
    declared = {
        package: {re.match(r"[\w-]+", each).group().lower() for each in texts}  # type: ignore[union-attr]
        for package, texts in asked.items()
    }
    assert len(declared["policy_engine"]) < 10
    names = packages_distributions()
    wrong = [
        each
        for each in imports()
        if (top := each.target.split(".")[0]) not in {*sys.stdlib_module_names, "gateway", "policy_engine"} | OPTIONAL
        and not declared[each.source.split(".")[0]]
        & ({name.lower().replace("_", "-") for name in names.get(top, [])} | {BROUGHT_BY.get(top)})
    ]
    assert wrong == [], violations(wrong)


def test_there_are_no_circles() -> None:
    targets: dict[str, set[str]] = {module: set() for module in files()}
    for each in internal():
        targets[each.source].add(each.target)
    reached = {module: _reachable(targets, module) for module in targets}
    # Two files that reach each other stand on a circle.
    circles = {frozenset(b for b in reached[a] if a in reached[b]) for a in targets if a in reached[a]}
    wrong = sorted(sorted(circle) for circle in circles)
    assert wrong == [], f"the files of each of these groups import each other: {wrong}"


def _reachable(targets: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for module in targets[todo.pop()] - seen:
            seen.add(module)
            todo.append(module)
    return seen


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "misc", "common"])
def test_no_drawer_for_everything(name: str) -> None:
    """A file is named after what it holds."""
    assert [module for module in files() if re.search(rf"(^|[._]){name}($|[._])", module)] == []
