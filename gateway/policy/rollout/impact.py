"""The report on what a candidate of the policies would have changed: every past decision whose input is kept.

Exact: each flip is one call of the past, with its place in the log, and is counted under its rule, its agent and what
the call cost. Decisions about which nobody can tell are counted with the reason. Nothing is recorded or changed.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.audit import search
from gateway.audit.intents import closing_id
from gateway.audit.log_reader import IndexedLog, LogIndex
from gateway.audit.search import DecidedRow
from gateway.policy import bundle as policy_bundle
from gateway.policy.bundle import Files
from gateway.policy.impact import FLIPS
from gateway.policy.rollout.impact_pool import PAGE, Pool

MOST_LISTED: Final = 10_000
"""Flips that a report lists one by one; all are counted."""
_MOST_GROUPS: Final = 500
_MATCHED: Final = ("agent", "organization", "team", "action", "upstream", "model", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Flips that somebody expects: those whose members match all of these patterns. `at_most` so many, or any number.

    `rule` is compared with the places of the rules and with the reasons.
    """

    before: str | None = None
    after: str | None = None
    agent: str = "*"
    organization: str = "*"
    team: str = "*"
    action: str = "*"
    upstream: str = "*"
    model: str = "*"
    tool: str = "*"
    rule: str = "*"
    at_most: int | None = None
    why: str = ""

    def matches(self, flip: Mapping[str, Any]) -> bool:
        if self.before not in (None, flip["before"]) or self.after not in (None, flip["after"]):
            return False
        named = {**flip, "agent": flip["agent_name"]}
        if not all(fnmatchcase(named[name], getattr(self, name)) for name in _MATCHED):
            return False
        told = (*flip["rules"], *flip["reasons"], *flip["reasons_after"])
        return self.rule == "*" or any(fnmatchcase(each, self.rule) for each in told)


@dataclass(slots=True)
class _Group:
    """Flips that have something in common."""

    count: int = 0
    cost_nanousd: int = 0
    unexpected: int = 0
    example: str = ""
    reasons: list[str] = field(default_factory=list)

    def add(self, flip: Mapping[str, Any]) -> None:
        self.count += 1
        self.cost_nanousd += flip["cost_nanousd"] or 0
        self.unexpected += not flip["expected"]
        if not self.example:
            self.example = flip["id"]
            self.reasons = flip["reasons"] if flip["after"] == "allow" else flip["reasons_after"]


@dataclass(slots=True)
class _Sums:
    decisions: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    kinds: dict[tuple[str, str], _Group] = field(default_factory=lambda: {each: _Group() for each in FLIPS})
    rules: dict[tuple[Any, ...], _Group] = field(default_factory=dict)
    agents: dict[tuple[Any, ...], _Group] = field(default_factory=dict)
    flips: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The decisions that are judged: of one organization or of all, and of a time."""

    organization: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


def report(
    log: IndexedLog,
    bundles: Path,
    candidate: Mapping[str, Files],
    commit: str,
    *,
    scope: Scope,
    complete: Callable[[DecidedRow], DecidedRow],
    expected: Sequence[Expectation] = (),
    listed: int = MOST_LISTED,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Judge the past decisions of a log by the bundles of a candidate. Blocks; raises `GatewayError`.

    So it does (`check_stopped`) soon after `stop` is set.

    `bundles` is where published bundles are, and `complete` puts kept content into an input. The log must be open in a
    snapshot.
    """
    end = search.last_position(log)
    sums, matched = _Sums(), [0] * len(expected)
    with Pool(bundles, candidate, commit, stop=stop) as pool:
        for page in pool.judged(_pages(log, end, scope, complete, progress)):
            _add(log, sums, page, expected, matched)
    sums.flips.sort(key=lambda each: (FLIPS.index((each["before"], each["after"])), -each["position"]))
    total = sum(each.count for each in sums.kinds.values())
    return {
        "candidate": {
            "commit": commit,
            "bundles": {name: policy_bundle.digest(files) for name, files in sorted(candidate.items())},
        },
        "logs": [_head(each) for each in log.heads() if scope.organization in (None, each.organization)],
        "decisions": sums.decisions,
        "same": sum(sums.counts["same"].values()) if sums.counts else 0,
        "flips": total,
        "unexpected": sum(each.unexpected for each in sums.kinds.values()),
        **{name: dict(sums.counts.get(name, Counter()).most_common()) for name in ("otherwise", "untold", "unasked")},
        "kinds": [{"before": b, "after": a, **_figures(each)} for (b, a), each in sums.kinds.items() if each.count],
        "rules": [
            {"before": key[0], "after": key[1], "rules": list(key[2]), "reasons": each.reasons, **_figures(each)}
            for key, each in _ordered(sums.rules)
        ],
        "agents": [
            {
                "before": key[0],
                "after": key[1],
                "organization": key[2],
                "agent": key[3],
                "name": key[4],
                **_figures(each),
            }
            for key, each in _ordered(sums.agents)
        ],
        "expected": [
            {"number": number + 1, "matched": count, "at_most": each.at_most, "why": each.why}
            for number, (each, count) in enumerate(zip(expected, matched, strict=True))
        ],
        "items": [{name: value for name, value in each.items() if name != "position"} for each in sums.flips[:listed]],
    }


KIND: Final = "policy-impact"
"""The name under which reports are signed, behind that of the deployment."""


def statement(document: Mapping[str, Any]) -> list[str]:
    """The lines that stand for a report when it is signed: a SHA-256 of it and its sums.

    The digest is of the JSON with sorted keys and no spaces, without its signature.
    """
    signed = {name: value for name, value in document.items() if name != "signature"}
    digest = hashlib.sha256(orjson.dumps(signed, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return [
        f"sha256 {digest}",
        f"decisions {document['decisions']}",
        f"flips {document['flips']}",
        f"unexpected {document['unexpected']}",
    ]


def _pages(
    log: LogIndex,
    end: int,
    scope: Scope,
    complete: Callable[[DecidedRow], DecidedRow],
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[DecidedRow]]:
    position = 0
    bounds = {"organization": scope.organization, "since_ns": scope.since_ns, "until_ns": scope.until_ns}
    while page := search.decided_rows(log, position, end, PAGE, **bounds):  # type: ignore[arg-type]  # by their names
        yield [complete(each) for each in page]
        position = page[-1].position
        if progress is not None:
            progress(position, end)


def _add(log: LogIndex, sums: _Sums, page: dict[str, Any], expected: Sequence[Expectation], matched: list[int]) -> None:
    flips = page.pop("flips")
    for kind, found in page.items():
        sums.counts.setdefault(kind, Counter()).update(found)
        sums.decisions += sum(found.values())
    sums.decisions += len(flips)
    costs = search.costs(log, [closing_id(each["id"]) for each in flips if each["before"] == "allow"])
    for flip in flips:
        flip["cost_nanousd"] = costs.get(closing_id(flip["id"]))
        flip["expected"] = _expected(flip, expected, matched)
        change = flip["before"], flip["after"]
        sums.kinds[change].add(flip)
        told = flip["rules"] or (flip["reasons"] if flip["after"] == "allow" else flip["reasons_after"])
        sums.rules.setdefault((*change, tuple(told)), _Group()).add(flip)
        who = flip["organization"], flip["agent"], flip["agent_name"]
        sums.agents.setdefault((*change, *who), _Group()).add(flip)
    sums.flips += flips
    if len(sums.flips) > 4 * MOST_LISTED:
        sums.flips.sort(key=lambda each: (FLIPS.index((each["before"], each["after"])), -each["position"]))
        del sums.flips[MOST_LISTED:]


def _expected(flip: Mapping[str, Any], expected: Iterable[Expectation], matched: list[int]) -> bool:
    for number, each in enumerate(expected):
        if (each.at_most is None or matched[number] < each.at_most) and each.matches(flip):
            matched[number] += 1
            return True
    return False


def _ordered(groups: Mapping[tuple[Any, ...], _Group]) -> list[tuple[tuple[Any, ...], _Group]]:
    """The most dangerous changes first, and of one change the largest groups."""
    found = sorted(groups.items(), key=lambda each: (FLIPS.index(each[0][:2]), -each[1].count, each[0]))
    return found[:_MOST_GROUPS]


def _figures(group: _Group) -> dict[str, Any]:
    return {
        "count": group.count,
        "unexpected": group.unexpected,
        "cost_nanousd": group.cost_nanousd,
        "example": group.example,
    }


def _head(head: Any) -> dict[str, Any]:
    return {"organization": head.organization, "origin": head.origin, "size": head.size, "root": head.root.hex()}
