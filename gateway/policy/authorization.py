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
from gateway.errors import Denied
from gateway.policy.cache import Panel, PolicyCache
from gateway.policy.decision import ALLOWED, MAX_INTEGER, Effect, Verdict, combine, read
from gateway.policy.input import build_input, restricted

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.identity.principals import Principal
    from gateway.registry.port import ActiveSet

logger = logging.getLogger("gateway.policy.cache")

DEADLINE_MS: Final = 100
_MAX_WORK: Final = 10_000_000
_MAX_OUTPUT: Final = 1024 * 1024
_MAX_DETAIL: Final = 500
# What policies drew from clock and chance, as it stands in the log's entry, where their reasons need room as well.
_MAX_RECORDED: Final = 24 * 1024


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
