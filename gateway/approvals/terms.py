"""What an approval is for, as people who approve choose it and as they read it (pure).

The words are made here alone, so that all who show an offer or a grant say the same.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.audit.approval_scope import GRANT_SECONDS, Scope, widest
from gateway.errors import GatewayError
from gateway.usage.reservation import amount


@dataclass(frozen=True, slots=True)
class Terms:
    """How often an approval may be used, for how long, and if for all calls that are alike. Without `seconds`: an hour
    at most.
    """

    uses: int = 1
    seconds: int | None = None
    for_pattern: bool = False


ONCE: Final = Terms()


def chosen(terms: Terms, demanded: Sequence[Mapping[str, Any]]) -> Scope:
    """The scope that somebody chooses of what the policies offer, whose pattern is empty for the very call."""
    offered = widest(demanded)
    seconds = min(GRANT_SECONDS, offered.seconds) if terms.seconds is None else terms.seconds
    if terms.for_pattern and not offered.pattern:
        raise _too_much("the policies name no pattern", "approve this very call alone")
    if not 1 <= terms.uses <= offered.uses:
        raise _too_much(f"{terms.uses} uses", f"the policies allow 1 to {offered.uses}")
    if not 1 <= seconds <= offered.seconds:
        raise _too_much(f"{seconds} seconds", f"the policies allow 1 to {offered.seconds}")
    return Scope(terms.uses, seconds, offered.pattern if terms.for_pattern else "")


def offered_words(demanded: Sequence[Mapping[str, Any]], agent: str, call: Mapping[str, Any]) -> str:
    """The most that one approval of a request may be for."""
    offered = widest(demanded)
    most = f"{_times(offered.uses, 'at most ')}, for {_duration(offered.seconds)} at most"
    if not offered.pattern:
        return f"for this very call alone, {most}"
    return f"for this very call or for {_alike(offered.pattern, agent, call)}, {most}"


def granted_words(uses: int, pattern: str, agent: str, call: Mapping[str, Any]) -> str:
    """What an approval is for."""
    return f"{_alike(pattern, agent, call) if pattern else 'this very call'}, {_times(uses)}"


def named_limits(call: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The limits that had no room for a call and that people may let it go over, from what is kept of it."""
    found: list[dict[str, Any]] = orjson.loads(call.get("limits_json", "[]"))
    return found


def over_limit_words(limit: Mapping[str, Any], demanded: Sequence[Mapping[str, Any]]) -> str:
    """Where one of these limits stood when the call asked, and what an approval does to it."""
    name, offered = limit["limit"], widest(demanded)
    used, value, needed = limit["spent"] + limit["reserved"], limit["value"], limit["needed"]
    text = f"{_spoken(name)} of {limit['subject']}: {amount(name, used)} of {amount(name, value)} used, "
    text += f"this call needs {'' if needed == 1 else 'up to '}{amount(name, needed)}"
    if limit["resets_at"]:
        text += f", the limit starts anew at {limit['resets_at']}"
    alike = ", or those that it is given for, whatever they need," if offered.pattern else ""
    return f"{text}; an approval raises it for this call alone{alike} and what runs counts"


def _spoken(name: str) -> str:
    """A limit's name in words: `spend per day`."""
    return name.replace("_microusd", "").replace("_", " ")


def _alike(pattern: str, agent: str, call: Mapping[str, Any]) -> str:
    named = " and ".join(f"“{each}”" for each in pattern.split("\n"))
    where = f" to {call['upstream']}" if call.get("upstream") else ""
    return (
        f"every call of {agent} that the policies call {named} ({call.get('action', 'the same action')}{where}, "
        "for the same person; anything else of it may differ)"
    )


def _times(uses: int, most: str = "") -> str:
    return "once" if uses == 1 else f"{most}{uses} times in all"


def _duration(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit if seconds > size else unit.removesuffix('s')}"
    return f"{seconds} seconds"


def _too_much(what: str, hint: str) -> GatewayError:
    return GatewayError("beyond_scope", f"an approval cannot be for that: {what}", hint=hint)
