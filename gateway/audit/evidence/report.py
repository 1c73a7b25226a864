"""The report in an evidence bundle: one HTML page for people, which prints to PDF (pure)."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gateway.audit.entry import Entry
from gateway.audit.intents import closing_id

_MOST: Final = 2000
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """body{font:14px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#111}
table{border-collapse:collapse;width:100%;font-size:12px}th,td{border-bottom:1px solid #bbb;padding:.3rem;
text-align:left;vertical-align:top;overflow-wrap:anywhere}tr{break-inside:avoid}thead{display:table-header-group}"""


class EvidenceReport:
    """Takes entries one by one; the first decisions are shown, all are counted."""

    def __init__(self, organization: str, said: Mapping[str, Any]) -> None:
        self._organization, self._said = organization, said
        self._counts = Counter[tuple[str, str]]()
        self._decided: dict[str, Entry] = {}
        self._ends: dict[str, Entry] = {}
        self._others: list[Entry] = []

    def add(self, entry: Entry) -> None:
        kind = str(entry["kind"])
        if kind == "decided":
            self._counts["decisions", "allowed" if entry["allow"] else str(entry["reason"])] += 1
            self._counts["agents", str(entry.get("agent_name") or entry["agent"])] += 1
            if len(self._decided) < _MOST:
                self._decided[str(entry["id"])] = entry
        elif kind == "completed":
            self._counts["outcomes of calls", str(entry["outcome"])] += 1
            if entry["decision"] in self._decided:
                self._ends[str(entry["id"])] = entry
        else:
            self._counts["other entries", str(entry.get("what", kind))] += 1
            if len(self._others) < _MOST:
                self._others.append(entry)

    def page(self, logs: Sequence[Mapping[str, Any]], public_key: str) -> str:
        """The page. Everything from the log is escaped, and the page loads and runs nothing."""
        chosen = ", ".join(f"{name}: {value}" for name, value in self._said.items()) or "the whole log"
        parts = [
            f"<h1>Evidence from the audit log of {_text(self._organization)}</h1>",
            f"<p>Selection: {_text(chosen)}.</p>",
            "<p>This page repeats what the entries in this bundle say, for reading. The proof is in the entries: run "
            "<code>verify.py</code>, or open <code>verify.html</code>. Neither shows that nothing was left out; times "
            "are those of the gateway's clock.</p>",
            _table(
                ("log", "entries here", "of signed entries"), [(x["origin"], x["entries"], x["size"]) for x in logs]
            ),
            f"<p>Public key: <code>{_text(public_key)}</code></p><h2>In numbers</h2>",
            _table(("what", "which", "number"), [(*each, count) for each, count in sorted(self._counts.items())]),
            "<h2>Decisions</h2>",
            _table(("time", "who", "what", "decision", "policy", "why", "how it ended"), map(self._row, self._decided)),
        ]
        if sum(count for (what, _), count in self._counts.items() if what == "decisions") > _MOST:
            parts.append(f"<p>Only the first {_MOST:,} are listed; entries.txt has all of them.</p>")
        if self._others:
            rows = [(_time(x), x["actor"], x.get("what", x["kind"]), x["id"]) for x in self._others]
            parts += ["<h2>Other entries</h2>", _table(("time", "by", "what", "entry"), rows)]
        head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        return f'<!doctype html><html lang="en"><head>{head}<title>Evidence</title><style>{_STYLE}</style></head><body>\
{"".join(parts)}</body></html>\n'

    def _row(self, name: str) -> tuple[object, ...]:
        entry, end = self._decided[name], self._ends.get(closing_id(name))
        policies = [f"{x['name']} ({x['commit'][:12]})" for x in json.loads(str(entry.get("bundles_json", "[]")))]
        why = "; ".join(json.loads(str(entry["reasons_json"])))
        ended = "" if end is None else f"{end['outcome']} {end['status'] or ''}"
        return (
            f"{_time(entry)} {name}",
            f"{entry.get('agent_name') or entry['agent']}{' for a person' if 'person_commitment' in entry else ''}",
            f"{entry.get('action', '')} {entry.get('model') or ''} at {entry.get('upstream', '')}",
            "allowed" if entry["allow"] else f"denied: {entry['reason']}",
            ", ".join(policies),
            why,
            ended,
        )


def _time(entry: Entry) -> str:
    return datetime.fromtimestamp(int(str(entry["time"])) // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(heads: Sequence[str], rows: Any) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<table><thead><tr>{''.join(f'<th>{_text(x)}</th>' for x in heads)}</tr></thead><tbody>{body}</tbody></table>"
    )
