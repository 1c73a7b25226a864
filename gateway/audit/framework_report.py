"""Reports for auditors: what the log shows for each requirement of a framework, in numbers with references.

The requirements are data (`frameworks.yaml`). Each number counts entries of an organization's log in a time, and for
operators of the whole gateway also those of the system log. It names the first and the last of them by index and id, so
that a reader finds and proves them (`gateway audit prove`). A report says what supports evidence for a requirement; it
is no judgement about whether that is enough.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.audit.halves_check import DIRECTION, GRANTOR
from gateway.audit.search import FoundEntry
from gateway.errors import GatewayError

_FILE: Final = Path(__file__).with_name("frameworks.yaml")
_MATCHED: Final = ("kind", "what", "allow", "reason", "outcome", "action")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #bbb;padding:.3rem;text-align:left;
vertical-align:top;overflow-wrap:anywhere}td:first-child{text-align:right;width:5rem}tr{break-inside:avoid}"""


@functools.cache
def frameworks() -> Mapping[str, Any]:
    """The frameworks by the names that the command knows them by."""
    found: Mapping[str, Any] = yaml.safe_load(_FILE.read_text("utf-8"))
    return found


class FrameworkReport:
    """Takes the entries of a log one by one, in order."""

    def __init__(self, name: str) -> None:
        if name not in frameworks():
            known = ", ".join(frameworks())
            raise GatewayError("unknown_framework", f"there is no framework `{name[:80]}`", hint=f"use one of {known}")
        self._name, self._framework = name, frameworks()[name]
        self._rows: list[dict[str, Any]] = []
        self._asked: list[Mapping[str, Any]] = []
        for requirement in self._framework["requirements"]:
            for row in requirement["shows"]:
                self._asked.append(row)
                self._rows.append({"says": row["says"], "count": 0, "first": None, "last": None})
        self._entries = 0
        self._of_mandates: set[str] = set()  # grantors' halves that have not ended: they are no calls

    def add(self, found: Iterable[FoundEntry]) -> None:
        for each in found:
            self._entries += 1
            is_half = self._is_of_mandate(each)
            for asked, row in zip(self._asked, self._rows, strict=True):
                if is_half and asked["kind"] != "any":
                    continue
                if _matches(asked, each.entry, each.kind):
                    row["count"] += 1
                    row["last"] = {"log": each.organization, "index": each.seq, "id": each.event_id}
                    row["first"] = row["first"] or row["last"]

    def _is_of_mandate(self, found: FoundEntry) -> bool:
        entry = found.entry
        if entry.get(DIRECTION) == GRANTOR.direction:
            if entry.get("open"):
                self._of_mandates.add(found.event_id)
            return True
        if found.kind == "completed" and (decided := str(entry.get("decision"))) in self._of_mandates:
            self._of_mandates.remove(decided)
            return True
        return False

    def document(self, logs: Sequence[str], since: str | None, until: str | None) -> dict[str, Any]:
        """The report; `logs` are the names (origins) of those whose entries were added."""
        rows = iter(self._rows)
        return {
            "framework": self._name,
            "title": self._framework["title"],
            "text": self._framework["text"],
            "logs": list(logs),
            "since": since,
            "until": until,
            "entries": self._entries,
            "requirements": [
                {
                    "id": each["id"],
                    "asks": each["asks"],
                    "shows": [next(rows) for _ in each["shows"]],
                    "outside": each["outside"],
                }
                for each in self._framework["requirements"]
            ],
        }


def _matches(asked: Mapping[str, Any], entry: Mapping[str, Any], kind: str) -> bool:
    if asked["kind"] not in ("any", kind):
        return False
    for name in _MATCHED[1:]:
        if name in asked:
            wanted = asked[name]
            if entry.get(name) not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
    if "not_outcome" in asked and entry.get("outcome") == asked["not_outcome"]:
        return False
    return "has" not in asked or entry.get(asked["has"]) is not None


def page(document: Mapping[str, Any]) -> str:
    """The report as one HTML page that loads and runs nothing, and prints. Everything in it is escaped."""
    parts = [
        f"<h1>{_text(document['title'])}: what the audit log shows</h1>",
        f"<p>Text: {_text(document['text'])}.<br>Logs: {_text(', '.join(document['logs']))}; "
        f"{document['entries']:,} entries, from {_text(document['since'] or 'the beginning')} until "
        f"{_text(document['until'] or 'the end')}.</p>",
        "<p>Each number counts entries, of which the first and the last are named. They support evidence for a "
        "requirement; if they are enough is for the reader to judge.</p>",
    ]
    for each in document["requirements"]:
        rows = "".join(
            f"<tr><td>{row['count']:,}</td><td>{_text(row['says'])}</td><td>{_reference(row)}</td></tr>"
            for row in each["shows"]
        )
        parts.append(
            f"<h2>{_text(each['id'])}</h2><p>{_text(each['asks'])}</p><table>{rows}</table>"
            f"<p>Outside the gateway's sight: {_text(each['outside'])}.</p>"
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{_POLICY}"><title>{_text(document["title"])}</title><style>{_STYLE}</style>{"".join(parts)}</html>\n'
    )


def _reference(row: Mapping[str, Any]) -> str:
    if row["first"] is None:
        return "none"
    named = [row["first"]] if row["first"] == row["last"] else [row["first"], row["last"]]
    return " to ".join(f"{_text(each['log'])} {each['index']:,} <code>{_text(each['id'])}</code>" for each in named)


def _text(value: object) -> str:
    return html.escape(str(value))
