"""Principal + call → input document → decision (docs/architecture.md, sections 4, 6 and 10; schemas/input.schema.json).

`decide` is the whole of it: who judges (`policies.PolicyCache.panel`), what they see (`build_input`), what they answer
(`decision.read`) and what that comes to (`decision.combine`). `confirm` is the second look after an obligation changed
the body. Neither raises: every failure is an `Authorization` that refuses, with a reason code of its own, because a
refusal is recorded like any other decision. What is recorded is exactly what the decision could have depended on.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

import policy_engine as pe
from gateway.decision import ALLOWED, MAX_INTEGER, Effect, Verdict, combine, read
from gateway.errors import Denied
from gateway.policies import CONTENT_PATHS, InputPath, Panel, PolicyCache

if TYPE_CHECKING:
    from gateway.exchange import Call
    from gateway.identity.principals import Principal
    from gateway.registry.reader import ActiveSet

logger = logging.getLogger("gateway.policies")

DEADLINE_MS: Final = 100
_MAX_WORK: Final = 10_000_000
_MAX_OUTPUT: Final = 1024 * 1024
_MAX_DETAIL: Final = 500
# What policies drew from clock and chance, as it stands in the log's entry, where their reasons need room as well.
_MAX_RECORDED: Final = 24 * 1024

_WEEKDAYS: Final = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")  # since 1970-01-01
_HOUR_NS: Final = 3600 * 10**9

_NOBODY: Final = Panel("", "", (), "[]", (), reads_content=False, nondeterministic=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The answer to one request, and all that is needed to explain or repeat it.

    `code` is `allowed` or a reason code; `reasons` may be told to the client, `detail` only to the log. The request may
    be forwarded only if `allow`, and then with at most `max_output_tokens` (None: as it is).

    `input` is the document as it was judged, for this request's life only. `restricted_input` is what the log keeps:
    the parts that the bundles can read, without content. If they read content, `recomputable` is false.
    """

    allow: bool
    code: str
    reasons: tuple[str, ...]
    detail: str
    max_output_tokens: int | None
    panel: Panel
    input: Mapping[str, Any]
    restricted_input: bytes
    recomputable: bool
    now_ns: int
    seed: int | None
    nondeterministic: Mapping[str, Mapping[str, Any]]

    def fields(self) -> dict[str, str | int | bool | None]:
        """What the `decided` entry says of the decision, so that it can be explained and computed again."""
        return {
            "activation": self.panel.activation_id,
            "policy_commit": self.panel.commit,
            "bundles_json": self.panel.summary,
            "engine": engine_version(),
            "now_ns": str(self.now_ns),
            "seed": None if self.seed is None else str(self.seed),
            "nondeterministic_json": pe.dumps(dict(self.nondeterministic)) if self.nondeterministic else "{}",
            "recomputable": self.recomputable,
            "max_output_tokens": self.max_output_tokens,
            "detail": self.detail,
        }


def decide(
    principal: Principal,
    call: Call,
    active: ActiveSet,
    cache: PolicyCache,
    now_ns: int,
    seed: int | None = None,
    *,
    usage: Mapping[str, Any] | None = None,
    deadline_ms: int = DEADLINE_MS,
) -> Authorization:
    """Judge a call by all bundles that are bound to its principal, as of one activation.

    `now_ns` is the clock of the judgement, `seed` its source of chance (drawn here if policies need one and none is
    given), `usage` what is known of the principal's consumption.
    """
    try:
        panel = cache.panel(principal.bindings, active)
    except Denied as refusal:
        panel = replace(_NOBODY, activation_id=active.activation_id, commit=active.commit)
        verdict = Verdict(refusal.code, detail=refusal.detail)
        return _authorization(verdict, panel, {}, now_ns, None, {})
    if seed is None and panel.nondeterministic:
        seed = secrets.randbelow(MAX_INTEGER)
    document = build_input(principal, call, now_ns, usage, body=panel.reads_content)
    return _judge(panel, document, now_ns, seed, deadline_ms)


def confirm(first: Authorization, principal: Principal, call: Call, *, deadline_ms: int = DEADLINE_MS) -> Authorization:
    """The second judgement: of the call as obligations have changed it, by the same bundles at the same moment.

    Every bundle must allow what came out and leave it as it is. If one would change it once more, policies do not agree
    with themselves, and forwarding either version would be a guess.
    """
    usage = first.input["usage"]
    document = build_input(principal, call, first.now_ns, usage, body=first.panel.reads_content)
    second = _judge(first.panel, document, first.now_ns, first.seed, deadline_ms)
    cap = second.max_output_tokens
    if second.allow and cap is not None and (call.max_output_tokens is None or call.max_output_tokens > cap):
        detail = "obligations would change the request that they have changed already"
        return replace(second, allow=False, code="policy_bad_decision", detail=detail, max_output_tokens=None)
    return second


def build_input(
    principal: Principal, call: Call, now_ns: int, usage: Mapping[str, Any] | None = None, *, body: bool = False
) -> dict[str, Any]:
    """The input document. Shares what it can with the principal and the call, so nobody may change it.

    `body` puts the client's document in. It is most of the cost of a large request, and policies rarely need it.
    """
    hours = now_ns // _HOUR_NS
    request: dict[str, Any] = {
        "method": call.method,
        "path": call.path,
        "stream": call.stream,
        "max_output_tokens": call.max_output_tokens,
        "tools": [{"type": tool.type, "name": tool.name} for tool in call.tools],
        "roles": list(call.roles),
        "messages": call.messages,
        "system_prompts": list(call.system_prompts),
    }
    if body:
        request["body"] = call.body
    return {
        "agent": principal.document,
        "action": call.action,
        "resource": {
            "upstream": call.upstream,
            "provider": call.provider,
            "model": call.model,
            "params": dict(call.params),
            "agent": None,
            "references": [{"kind": each.kind, "id": each.id} for each in call.references],
        },
        "request": request,
        "usage": dict(usage) if usage else {},
        "time": {"now_ns": now_ns, "zone": "UTC", "weekday": _WEEKDAYS[hours // 24 % 7], "hour": hours % 24},
    }


@functools.cache
def engine_version() -> str:
    """Which engine gave the answers, as the log names it."""
    try:
        return importlib.metadata.version("agent-identity-gateway")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def _judge(panel: Panel, document: dict[str, Any], now_ns: int, seed: int | None, deadline_ms: int) -> Authorization:
    """Ask every member, whatever the others say, so that the client learns all reasons. They share the deadline."""
    verdicts: list[tuple[Effect, Verdict]] = []
    recorded: dict[str, Mapping[str, Any]] = {}
    ends = time.monotonic() + deadline_ms / 1000
    for member in panel.members:
        left = ends - time.monotonic()
        if left <= 0:
            verdicts.append((member.effect, Verdict("policy_deadline", detail=f"{member.ref.name}: no time was left")))
            continue
        try:
            answer = member.bundle.decide(
                document, now_ns=now_ns, seed=seed, limits=pe.Limits(left, _MAX_WORK, _MAX_OUTPUT)
            )
        except pe.PolicyError as error:
            code = "policy_deadline" if error.code == "eval_cancel_error" else "policy_error"
            verdict = Verdict(code, detail=f"{member.ref.name}: {error}")
        except Exception as error:  # a defect of the engine: a refusal, and on record like any other
            logger.exception("bundle %s cannot be evaluated", member.ref.name)
            verdict = Verdict("policy_error", detail=f"{member.ref.name}: {type(error).__name__}: {error}")
        else:
            undefined = answer.value is pe.UNDEFINED
            verdict = Verdict("policy_undefined") if undefined else read(answer.value, member.effect)
            if answer.nondeterministic:
                recorded[member.ref.digest] = answer.nondeterministic
            if verdict.detail:
                verdict = replace(verdict, detail=f"{member.ref.name}: {verdict.detail}")
        verdicts.append((member.effect, verdict))
    return _authorization(combine(verdicts), panel, document, now_ns, seed, recorded)


def _authorization(
    verdict: Verdict,
    panel: Panel,
    document: dict[str, Any],
    now_ns: int,
    seed: int | None,
    recorded: Mapping[str, Mapping[str, Any]],
) -> Authorization:
    kept = b"{}"
    try:
        kept = restricted(document, panel.input_paths)
        if recorded and len(orjson.dumps(pe.dumps(dict(recorded)))) > _MAX_RECORDED:
            raise ValueError("policies drew too many values from clock and chance")
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: what orjson cannot express
        # A decision that the log cannot hold must not be made.
        verdict = Verdict("policy_error", verdict.reasons, detail=f"the decision cannot be recorded: {error}")
        recorded = {}
    return Authorization(
        allow=verdict.code == ALLOWED,
        code=verdict.code,
        reasons=verdict.reasons,
        detail=verdict.detail[:_MAX_DETAIL],
        max_output_tokens=verdict.max_output_tokens,
        panel=panel,
        input=document,
        restricted_input=kept,
        recomputable=not panel.reads_content,
        now_ns=now_ns,
        seed=seed,
        nondeterministic=recorded,
    )


def restricted(document: Mapping[str, Any], paths: tuple[InputPath, ...]) -> bytes:
    """The parts of a document below `paths` and without content, as JSON with sorted keys and no spaces.

    Judging it again gives the same answer: what a bundle reads is there, and what was undefined to it still is.
    """
    kept: dict[str, Any] = {}
    for path in paths:
        if path:
            _keep(document, path, kept)
        else:
            kept = dict(document)
    for path in CONTENT_PATHS:
        _drop(kept, path)
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def _keep(source: Any, path: InputPath, kept: dict[str, Any]) -> None:
    """Copy the value at `path`, and nothing beside it, into the same place of `kept`."""
    for step in path[:-1]:
        source = source.get(step) if source.__class__ is dict else None
        if source.__class__ is not dict:
            return
        kept = kept.setdefault(step, {})
    if source.__class__ is dict and path[-1] in source:
        kept[path[-1]] = source[path[-1]]


def _drop(kept: dict[str, Any], path: InputPath) -> None:
    """Take the value at `path` out of `kept`, whose inner objects may be shared and are copied before they change."""
    for step in path[:-1]:
        inner = kept.get(step)
        if inner.__class__ is not dict:
            return
        kept[step] = inner = dict(inner)
        kept = inner
    kept.pop(path[-1], None)
