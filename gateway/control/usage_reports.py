"""Usage as the control API and commands tell it: which sums are asked for, in which zone, and by whose names.

`usage/usage_report.py` adds up. With an organization nothing of others is in an answer, names of agents included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Final

from gateway.audit.log_reader import IndexedLog
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError, Hint, UnknownError, did_you_mean
from gateway.registry.documents import parse_time
from gateway.registry.history import zones as zone_history
from gateway.usage import rollup, zones
from gateway.usage.rollup import Progress, Rollup
from gateway.usage.totals import UsageCounts
from gateway.usage.usage_report import DIMENSIONS, UNITS, UsageQuestion, UsageRow, answer, begin

KNOWN: Final = (*DIMENSIONS, *UNITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageAsked:
    """By which units and members of a subject, of whom, from when until when.

    Times are as they were given: one without a zone is in that of the days and months. Without `since` it is from this
    month on. `at` asks for the minute, hour, day and month of a time up to it, and excludes the other two.
    """

    by: Sequence[str]
    only: Mapping[str, str] = field(default_factory=dict)
    since: str | None = None
    until: str | None = None
    at: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """Amounts that were used. `key` has a value for each member of `by`; agents stand by name. `window` is for `at`."""

    key: Sequence[str]
    counts: UsageCounts
    agent_id: str | None
    window: str
    since_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """The answer. `zones` is how many the organizations have that it is about; if not 1, days are those of UTC."""

    lines: Sequence[UsageLine]
    since_ns: int
    until_ns: int
    zones: int


def check_by(names: Sequence[str], where: str) -> None:
    """Raise `invalid_option` unless these are what can be added up by, each once. `where` is what has them."""
    for each in names:
        if each not in KNOWN:
            hint = did_you_mean(each, KNOWN, f"known are {', '.join(KNOWN)}")
            raise GatewayError("invalid_option", f"{where}: unknown name `{each}`", subject=each, hint=hint)
        if names.count(each) > 1:
            raise GatewayError("invalid_option", f"{where}: `{each}` stands twice", subject=each)


def report(
    log: IndexedLog, data: DataDirectory, asked: UsageAsked, now_ns: int, progress: Progress | None = None
) -> UsageReport:
    """Bring the sums of a directory up to date with its log, and add up. Raises `GatewayError`."""
    if asked.at is not None and (asked.since is not None or asked.until is not None):
        raise GatewayError("invalid_time", "at excludes since and until", hint="leave them out")
    at_ns = None if asked.at is None else parse_time(asked.at)
    place = None if asked.zone is None else zones.find(asked.zone)
    organization = asked.only.get("organization")
    with log.snapshot(), rollup.opened(data.cache, log, progress) as sums:
        names, apart = sums.names(organization), 1
        if place is None:
            name, apart = _zone_of(data, organization, sums, at_ns)
            place = zones.find(name)
        windows = {"": _between(asked, now_ns, place)} if at_ns is None else _windows(at_ns, place)
        only = _agent_ids(asked.only, names)
        lines = [
            _line(asked.by, row, names, window, since_ns)
            for window, (since_ns, until_ns) in windows.items()
            for row in answer(UsageQuestion(since_ns, until_ns, asked.by, only, place), sums, log)
        ]
    since_ns, until_ns = next(iter(windows.values()))
    return UsageReport(lines=lines, since_ns=since_ns, until_ns=until_ns, zones=apart)


def _line(by: Sequence[str], row: UsageRow, names: Mapping[str, str], window: str, since_ns: int) -> UsageLine:
    key = [names.get(value, value) if name == "agent" else value for name, value in zip(by, row.key, strict=True)]
    agent = dict(zip(by, row.key, strict=True)).get("agent")
    return UsageLine(key=key, counts=row.counts, agent_id=agent, window=window, since_ns=since_ns)


def _agent_ids(only: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """The filters with the id of the agent that was named. Of several agents of one name it is the newest."""
    found = dict(only)
    if (name := found.get("agent")) is not None and name not in names:
        ids = sorted(id_ for id_, known in names.items() if known == name)
        if not ids:
            hint = did_you_mean(name, names.values(), Hint("type `gateway agents list` to see the agents"))
            raise UnknownError("agent", f"agent `{name}` has used nothing yet", subject=name, hint=hint)
        found["agent"] = ids[-1]
    return found


def _zone_of(data: DataDirectory, organization: str | None, sums: Rollup, at_ns: int | None) -> tuple[str, int]:
    """The zone of an organization, or the one of all that have used something, and how many there are.

    It is that of now, or as it was at a time: so the answer for a time stays the same, whatever becomes of the zone.
    """
    known = zone_history.zones(data.registry_db, at_ns)
    asked = sums.organizations() if organization is None else [organization]
    found = {known.get(name, zones.DEFAULT) for name in asked}
    # The sums of several organizations have no other days in common than those of UTC.
    return (found.pop(), 1) if len(found) == 1 else (zones.DEFAULT, max(1, len(found)))


def _between(asked: UsageAsked, now_ns: int, zone: tzinfo) -> tuple[int, int]:
    until_ns = now_ns + 1 if asked.until is None else _time(asked.until, zone)
    since_ns = begin(now_ns, "month", zone) if asked.since is None else _time(asked.since, zone)
    if since_ns >= until_ns:
        raise GatewayError("invalid_time", "since must be before until", hint="write two times, the earlier one first")
    return since_ns, until_ns


def _time(text: str, zone: tzinfo) -> int:
    """A time that was given; if it names no zone, it is in that of days and months."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return parse_time(text)  # refuses it
    return parse_time(text if when.tzinfo else when.replace(tzinfo=zone).isoformat())


def _windows(at_ns: int, zone: tzinfo) -> dict[str, tuple[int, int]]:
    return {unit: (begin(at_ns, unit, zone), at_ns + 1) for unit in UNITS}
