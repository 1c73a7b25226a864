"""Reports by framework: numbers that the log has, references that lead there, and no judgement."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import framework_report, search, storage
from gateway.audit.framework_report import FrameworkReport
from gateway.audit.intents import Refused
from gateway.audit.search import Filters
from gateway.errors import REASONS, GatewayError

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

ROOT = Path(__file__).parents[3]
ROWS = [
    (name, requirement["id"], row)
    for name, framework in framework_report.frameworks().items()
    for requirement in framework["requirements"]
    for row in requirement["shows"]
]


def report(log: Log, name: str) -> dict[str, Any]:
    made = FrameworkReport(name)
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        found, _ = search.after(db, 0, Filters(organization="default"))
    made.add(found)
    return made.document(["test/default/audit/1"], None, None)


def rows(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["says"]: row for each in document["requirements"] for row in each["shows"]}


def test_numbers_and_references_are_those_of_the_log(log: Log, make: Make) -> None:
    writer = log.writer()
    allowed = make.decided(fields={"agent_name": "bot", "action": "chat.completions"})
    limited = make.decided(allow=False, open=False, reason="limit_exceeded", fields={})
    for intent in (
        make.change(what="agent.registered"),
        allowed,
        make.completed(allowed),
        limited,
        make.change(what="agent.suspended"),
        make.change(what="agent.registered"),
        make.decided(organization="acme", allow=False, open=False, reason="no_policy", fields={}),
        Refused(reason="bad_credentials", count=3, first_ns=1, last_ns=2),
    ):
        writer.write_sync(intent)
    found = rows(report(log, "soc2"))
    assert found["calls that were allowed by a policy"]["count"] == 1
    assert found["calls that were refused"] == found["calls that a limit refused"] | {"says": "calls that were refused"}
    assert found["calls that a limit refused"]["first"] == {"log": "default", "index": 3, "id": limited.event_id}
    registered = found["agents that were registered"]
    assert (registered["count"], registered["first"]["index"], registered["last"]["index"]) == (2, 0, 5)
    entries = log.entries()
    for row in found.values():
        for each in (row["first"], row["last"]):
            assert each is None or entries[each["index"]]["id"] == each["id"]
    assert rows(report(log, "iso42001"))["entries in this time"]["count"] == len(entries)


@pytest.mark.parametrize("name", framework_report.frameworks())
def test_a_report_judges_nothing_and_runs_nothing(log: Log, make: Make, name: str) -> None:
    log.writer().write_sync(make.change(fields={"name": "<script>alert(1)</script>"}))
    document = report(log, name)
    document["title"] += "<script>"
    page = framework_report.page(document)
    assert "<script>" not in page
    assert not re.search(r"compliant|complies|https?://", page + json.dumps(document), re.IGNORECASE)
    assert re.search(r"\b20\d\d\b", document["text"]), "it says of when the text is"
    assert all(each["outside"] and each["shows"] for each in document["requirements"])


def test_a_row_asks_for_something_that_can_be_in_a_log() -> None:
    """Names are those of the schema of entries, of reasons, and of changes that the code makes."""
    schema = json.loads((ROOT / "schemas/audit-entry.schema.json").read_text())
    code = "".join(path.read_text() for path in sorted((ROOT / "gateway").rglob("*.py")))
    kinds = {*schema["properties"]["kind"]["enum"], "any"}
    for name, _, row in ROWS:
        assert row["kind"] in kinds, name
        whats = row.get("what", [])
        for what in whats if isinstance(whats, list) else [whats]:
            noun, verb = what.split(".")
            assert f'"{what}"' in code or (f'"{noun}' in code and verb in code), what
        assert row.get("reason", "no_policy") in REASONS, row
        if "has" in row:
            assert row["has"] in schema["$defs"][row["kind"]]["properties"], row
        assert set(row) <= {"says", "kind", "what", "allow", "reason", "outcome", "not_outcome", "action", "has"}, row


def test_a_framework_that_nobody_knows_is_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        FrameworkReport("soc3")
    assert caught.value.code == "unknown_framework"
    assert "soc2" in str(caught.value.hint)
