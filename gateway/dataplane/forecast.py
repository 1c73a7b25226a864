"""Applies the limits to a call that is judged but not made: its reservation, and the room left in each limit.

The balances are read as the last commit left them. Nothing is reserved, so another call may take what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import orjson

from gateway.audit import balances
from gateway.audit.errors import unavailable
from gateway.audit.intents import Denial, Fields
from gateway.audit.log_files import opened_log
from gateway.audit.log_reader import UnreadableError
from gateway.call import Call, CalledTool, NamedPrompt, Reference, Tool
from gateway.dataplane.budget import Budget
from gateway.dataplane.judgement import Judgement
from gateway.policy.authorization import Authorization, refused
from gateway.policy.decision import Verdict
from gateway.settings import Settings
from gateway.usage import bounds
from gateway.usage.price_book import PriceBook
from gateway.usage.standing import StandingBalances

_P = TypeVar("_P", CalledTool, NamedPrompt)

NO_TEXT: Final = "the input counts as if it had no text: give the request's body, and --route"


@dataclass(frozen=True, slots=True)
class Forecast:
    """The amounts that a call would reserve, and every limit that applies to it, as in `CallReservation.standing`.

    `output_limit` is the one that the gateway would set. `remark` names the assumptions.
    """

    tokens: int
    spend_nanousd: int
    limits: tuple[Mapping[str, Any], ...]
    output_limit: int | None = None
    remark: str = ""


class Limits:
    """The limits of one data directory, to be asked and not to be used. Close it."""

    def __init__(self, settings: Settings) -> None:
        self._data = settings.data
        self._standing = StandingBalances(self._data, dict)
        self.budget = Budget(self._standing, PriceBook(settings), default_output=settings.default_output_tokens)

    def close(self) -> None:
        self._standing.close()

    def asked(self, judged: Judgement) -> tuple[Authorization, Forecast | None]:
        """The judged authorization, refused if a limit has no room for the call; and the forecast of the limits."""
        found, call, reservation = judged.authorization, judged.call, judged.reservation
        if reservation is None:
            return found, None
        answer: Fields | Denial = {}
        try:
            with opened_log(self._data) as db, db.snapshot():
                latest = balances.latest(db)
                if found.allow:
                    answer = reservation.take(latest, found.now_ns)
                standing = reservation.standing(latest.get, found.now_ns)
        except UnreadableError as error:
            raise unavailable(error.why) from error
        if isinstance(answer, Denial):
            found = refused(found, Verdict(answer.reason, reasons=tuple(answer.reasons)))
        no_text = bounds.asks_a_model(call) and call.body is None and not call.raw
        remark = NO_TEXT if no_text and any(each["needed"] > 1 for each in standing) else ""
        if reservation.estimate is not None:
            remark = f"what it reserves is an estimate: it has {reservation.estimate.why}"
        return found, Forecast(
            reservation.tokens, reservation.spend_nanousd, tuple(standing), judged.output_limit, remark
        )


def call_of(document: Mapping[str, Any], simplest: Call) -> Call:
    """The call that an input document describes. Parts that the document leaves out are as in the simplest call."""
    resource, request = document["resource"], document["request"]
    body = request.get("body")
    return replace(
        simplest,
        action=document["action"],
        upstream=resource["upstream"],
        provider=resource["provider"],
        method=request["method"],
        path=request["path"],
        raw=orjson.dumps(body) if body else b"",
        body=body or None,
        model=resource["model"],
        models=tuple(resource["models"]),
        params=resource["params"],
        stores=resource["stores"],
        stream=request["stream"],
        max_output_tokens=request["max_output_tokens"],
        tools=tuple(Tool(each["type"], each["name"], each.get("server", "")) for each in request["tools"]),
        roles=tuple(request["roles"]),
        messages=request["messages"],
        system_prompts=tuple(request["system_prompts"]),
        betas=tuple(request["betas"]),
        references=tuple(Reference(each["kind"], each["id"]) for each in resource["references"]),
        modalities=tuple(request["modalities"]),
        tool=_part(CalledTool, resource.get("tool")),
        prompt=_part(NamedPrompt, resource.get("prompt")),
        uri=resource.get("uri"),
        protocol=request.get("protocol"),
    )


def _part(made: type[_P], given: Mapping[str, Any] | None) -> _P | None:
    return None if given is None else made(**given)
