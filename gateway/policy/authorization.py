"""Principal + call → input document → decision (architecture.md, sections 4, 6 and 10; schemas/input.schema.json).

`panel` finds the bundles that judge. `decide` builds the input, evaluates the bundles, reads their answers and combines
them. `enforce` has their obligations carried out and the result judged once more. None of them raises: every failure is
an `Authorization` that refuses, with a reason code of its own, because a refusal is recorded like any other decision.
An authorization holds everything that the decision could have depended on.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final, TypeAlias

import orjson

import policy_engine as pe
from gateway.call import WITHOUT_OUTPUT_LIMIT, Call, Reference
from gateway.errors import Denied
from gateway.frozen import frozen
from gateway.identity.key_scope import KeyScope
from gateway.identity.principals import Effect, Principal
from gateway.policy.approvals import MAX_BYTES, MAX_REQUIREMENTS, Requirement, are_given, documents, ordered
from gateway.policy.cache import CompiledBundle, Panel, PolicyCache, content_paths, of_direction
from gateway.policy.decision import ALLOWED, APPROVAL, MAX_INTEGER, Verdict, combine, lowest, read
from gateway.policy.input import OF_CALLS, build_input, content_of, kept_of, received
from gateway.policy.obligations import NOTHING, Obligations, together
from gateway.registry.port import ActiveSet

logger = logging.getLogger("gateway.policy.authorization")

Apply: TypeAlias = Callable[[Call, Obligations], tuple[Call, tuple[str, ...]]]

MAX_WORK: Final = 10_000_000
MAX_OUTPUT: Final = 1024 * 1024
_MAX_DETAIL: Final = 500
# Values that policies drew from clock and chance, as they stand in the log's entry, where reasons need room as well.
_MAX_RECORDED: Final = 24 * 1024
_MAX_OBLIGATIONS: Final = 8 * 1024  # as text in the log's entry


@frozen(kw_only=True)
class Authorization:
    """The answer to one request, with everything that is needed to explain or repeat it.

    `code` is `allowed` or a reason code; `reasons` may be told to the client, `detail` only to the log. The request may
    be forwarded only if `allow`, and then only as `obligations` demand.

    `input` is the document as it was judged, and does not outlive the request. `kept_input` is the part that the log
    keeps: everything but content, and without what `left_out` counts of an input that is too long. `foreign` are the
    references to state that the agent did not create here. `approvals` are what people must do before the call may run,
    or have done: then `input` has the approval that the call uses. `over_limit` is what people must do before it may go
    over limits, if policies offer that, and `exceeded` the limits that had no room for it when that was looked at.
    """

    allow: bool
    code: str
    reasons: tuple[str, ...]
    detail: str
    obligations: Obligations
    # The limits of the policies, by their names.
    limits: Mapping[str, int]
    panel: Panel
    input: Mapping[str, Any]
    kept_input: bytes
    left_out: Mapping[str, int]
    foreign: tuple[Reference, ...]
    now_ns: int
    seed: int | None
    nondeterministic: Mapping[str, Mapping[str, Any]]
    approvals: tuple[Requirement, ...] = ()
    over_limit: tuple[Requirement, ...] = ()
    # The part of `limits` that nobody may let it go over.
    firm: Mapping[str, int] = field(default_factory=dict)
    exceeded: tuple[Mapping[str, Any], ...] = ()

    @property
    def waits_for(self) -> tuple[Mapping[str, Any], ...]:
        """The limits that it waits for people to let it go over."""
        waits = self.code == APPROVAL and any(each.over_limit for each in self.approvals)
        return self.exceeded if waits else ()

    @property
    def may_be_overtaken(self) -> bool:
        """True if it had room in limits that people may let it go over: only its transaction can find none."""
        return self.allow and bool(self.over_limit) and not self.exceeded

    @property
    def recomputable(self) -> bool:
        """The decision can be computed again from what the log keeps."""
        return not self.content and not self.left_out

    @property
    def content(self) -> tuple[str, ...]:
        """The paths of content that the bundles can have read in this input."""
        return content_of(self.panel.content, self.input) if self.panel.content else ()

    def fields(self) -> dict[str, str | int | bool | None]:
        """The members of the `decided` entry by which the decision can be explained and computed again."""
        content = self.content if self.panel.content else ()
        fields: dict[str, str | int | bool | None] = {
            "activation": self.panel.activation_id,
            "policy_commit": self.panel.commit,
            "bundles_json": self.panel.summary,
            "engine": engine_version(),
            "now_ns": str(self.now_ns),
            "seed": None if self.seed is None else str(self.seed),
            "nondeterministic_json": pe.dumps(dict(self.nondeterministic)) if self.nondeterministic else "{}",
            "recomputable": not content and not self.left_out,
            "max_output_tokens": self.obligations.max_output_tokens,
            "detail": self.detail,
        }
        if others := _besides_the_cap(self.obligations):
            fields["obligations_json"] = others
        if self.limits:
            fields["policy_limits_json"] = orjson.dumps(self.limits, option=orjson.OPT_SORT_KEYS).decode()
        if content:
            fields["unkept_json"] = orjson.dumps(content).decode()
        if self.left_out:
            fields["left_out_json"] = orjson.dumps(self.left_out, option=orjson.OPT_SORT_KEYS).decode()
        if self.approvals and self.code in (ALLOWED, APPROVAL):
            fields["approvals_json"] = approvals_text(self.approvals)
        if self.exceeded and (exceeded := self.waits_for):
            fields["limits_json"] = exceeded_text(exceeded)
        if self.foreign:
            fields["foreign_references"] = len(self.foreign)
        return fields


def panel(principal: Principal, active: ActiveSet, cache: PolicyCache, *, receiving: bool = False) -> Panel:
    """The bundles that judge a principal as of one activation; if they cannot judge, a panel that says why.

    If it is `receiving`, they are those that say who may call it.
    """
    try:
        return cache.panel(principal.bindings, active, receiving=receiving)
    except Denied as refusal:
        verdict = Verdict(refusal.code, detail=refusal.detail)
        shadows = cache.shadows(of_direction(principal.bindings, receiving=receiving), active)
        return Panel(active.activation_id, active.commit, refusal=verdict, shadows=shadows)


def within_scope(judges: Panel, scope: KeyScope | None, call: Call, models: Sequence[str], peer: str | None) -> Panel:
    """The panel for a call with a key of this scope: nobody is asked about a call outside, and it is refused.

    `models` are those that the client names. A route's names of them at its upstream, and models that policies put in
    their place, are not the client's choice. `peer` is the address that the request comes from.
    """
    if scope is None:
        return judges
    verdict = scope_verdict(scope, call.action, models, peer, upstream_of(call))
    if verdict is None:
        return judges
    return Panel(judges.activation_id, judges.commit, refusal=verdict)


def upstream_of(call: Call) -> str:
    """The upstream of a call as scopes name it; a published agent with its organization."""
    return call.upstream if call.agent is None else f"{call.agent['organization']}/{call.agent['name']}"


def scope_verdict(
    scope: KeyScope | None, action: str, models: Sequence[str], peer: str | None, upstream: str
) -> Verdict | None:
    """The refusal of a call that is outside of its key's scope; None for one inside."""
    outside = scope.outside(action, models, peer, upstream) if scope is not None else ""
    return Verdict("key_scope", reasons=(outside,)) if outside else None


def decide(
    judges: Panel,
    principal: Principal,
    call: Call,
    now_ns: int,
    seed: int | None = None,
    *,
    ends: float,
    usage: Mapping[str, Any] | None = None,
    clock: Mapping[str, Any] | None = None,
    foreign: tuple[Reference, ...] = (),
    approval: Mapping[str, Any] | None = None,
) -> Authorization:
    """Judge a call by all bundles of a panel.

    `now_ns` is the clock of the judgement, `seed` its source of chance (drawn here if policies need one and none is
    given), `ends` its deadline (`time.monotonic`), `usage` the principal's consumption as far as it is known,
    `clock` the document's member `time`, if `now_ns` does not say it, and `approval` the one that the call would use.
    """
    body = judges.reads_content
    document = build_input(principal, call, now_ns, usage, body=body, clock=clock, approval=approval)
    return _judge(judges, document, now_ns, seed, foreign, ends)


def decide_received(
    judges: Panel, caller: Principal, call: Call, now_ns: int, *, ends: float, foreign: tuple[Reference, ...] = ()
) -> Authorization:
    """Judge a call to an agent by the bundles of the one that is called; otherwise as `decide`.

    `foreign` are for the caller's side, and given if that is another gateway's.
    """
    document = build_input(caller, call, now_ns, body=judges.reads_content)
    return _judge(judges, received(document), now_ns, None, foreign, ends)


def foreseen(
    judges: Panel, principal: Principal, call: Call, now_ns: int, *, ends: float, usage: Mapping[str, Any]
) -> bool | None:
    """Whether a call whose content nobody knows could be allowed; None if that depends on it, or cannot be told.

    False is certain: a bundle that does not read content refuses, or one denies by a rule that does not.
    """
    if judges.refusal is not None:
        return False
    document = build_input(principal, call, now_ns, usage)
    seed = secrets.randbelow(MAX_INTEGER) if judges.nondeterministic else None
    verdicts: list[tuple[Effect, Verdict]] = []
    unsure = False
    for member in judges.members:
        bundle = member.bundle
        verdict, _ = asked(bundle, member.ref.name, member.effect, document, now_ns, seed, ends)
        verdicts.append((member.effect, verdict))
        if verdict.code in (ALLOWED, APPROVAL):
            continue
        reads = content_of(content_paths(bundle.input_paths, OF_CALLS), document)
        if verdict.code != "policy_deadline" and not reads:
            return False
        if verdict.code == "policy_denied" and verdict.reasons and not bundle.denies_by_content:
            return False
        unsure = True
    return None if unsure else combine(verdicts).code in (ALLOWED, APPROVAL)


def enforce(
    first: Authorization, principal: Principal, call: Call, apply: Apply, *, ends: float
) -> tuple[Authorization, Call, tuple[str, ...]]:
    """Change a call that `first` allows as its policies oblige; if anything changed, have the result judged again.

    `apply` is the provider's part: the changed call, and names for what was changed in it. The same bundles are asked
    at the same moment; all of them must allow the changed call and leave it as it is. If one would change it once more
    the policies contradict themselves, and forwarding either version would be a guess. `ends` is the deadline of the
    first judgement.

    Returns the authorization that holds, the call that it is about, and the names of the changes.

    # INVARIANT: if the authorization allows, the call meets all obligations.
    """
    call, edits = apply(call, first.obligations)
    found = _again(first, principal, call, ends) if edits else first
    if not found.allow:
        return found, call, edits
    if missed := unmet(first.obligations, found.input):
        verdict = Verdict("policy_unsupported", detail=f"{NOT_ENFORCED}{missed}")
        return refused(found, verdict), call, edits
    if edits:
        more = found.obligations
        new_headers = more.set_headers.items() - first.obligations.set_headers.items()
        if new_headers or unmet(more, found.input) or apply(call, more)[1]:
            return refused(found, CHANGED_TWICE), call, edits
        # No conflict is left: the call meets both, and the headers are those of the first judgement.
        found = replace(
            found,
            obligations=together([first.obligations, more]),
            limits=lowest([first.limits, found.limits]),
            over_limit=ordered((*first.over_limit, *found.over_limit)),
            firm=lowest([first.firm, found.firm]),
        )
    return found, call, edits


def _again(first: Authorization, principal: Principal, call: Call, ends: float) -> Authorization:
    """The second judgement: of the call as obligations have changed it, by the same bundles at the same moment."""
    return decide(
        first.panel,
        principal,
        call,
        first.now_ns,
        first.seed,
        usage=first.input["usage"],
        clock=first.input["time"],
        foreign=first.foreign,
        approval=first.input.get("approval"),
        ends=ends,
    )


OF_CALLEE: Final = ("callee_unavailable", "callee_refused")
"""Reason codes of a call to another agent that its own side has refused."""
PERSON_REQUIRED: Final = Verdict(
    "person_required", reasons=("the agent acts for no person: call with a token that names one",)
)
NOT_ENFORCED: Final = "this cannot be enforced: "
CHANGED_TWICE: Final = Verdict(
    "policy_bad_decision", detail="obligations would change the request that they have changed already"
)


def unmet(obligations: Obligations, document: Mapping[str, Any]) -> str:
    """The obligation that the request of an input document does not meet, and how; empty if it meets all."""
    request, resource = document["request"], document["resource"]
    if obligations.max_output_tokens is not None and document["action"] in WITHOUT_OUTPUT_LIMIT:
        return f"`max_output_tokens` is {obligations.max_output_tokens}, and `{document['action']}` has no such limit"
    tools = [(str(each["type"]), str(each["name"])) for each in request["tools"]]
    return obligations.unmet(request["max_output_tokens"], tools, resource["models"])


def refused(allowed: Authorization, verdict: Verdict) -> Authorization:
    """The authorization of a request that policies allow, refused for a reason of the gateway's own."""
    return replace(
        allowed,
        allow=False,
        code=verdict.code,
        reasons=verdict.reasons,
        detail=verdict.detail[:_MAX_DETAIL],
        obligations=NOTHING,
        limits={},
        approvals=(),
        over_limit=(),
        firm={},
    )


def approvals_text(approvals: Sequence[Requirement]) -> str:
    """Requirements as text for the log; the same for equal ones."""
    return orjson.dumps(documents(approvals), option=orjson.OPT_SORT_KEYS).decode()


def exceeded_text(exceeded: Sequence[Mapping[str, Any]]) -> str:
    """Limits without room as text for the log."""
    return orjson.dumps(list(exceeded), option=orjson.OPT_SORT_KEYS).decode()


def with_approval(verdict: Verdict, approval: object) -> Verdict:
    """The verdict on a call that uses an approval: allowed, if it is one for all that the bundles demand."""
    if verdict.code != APPROVAL or not are_given(verdict.approvals, approval):
        return verdict
    return replace(verdict, code=ALLOWED, reasons=())


def _besides_the_cap(obligations: Obligations) -> str:
    """The obligations as text for the log, without the cap, which has a member of its own; empty if there are none."""
    if not obligations:  # as of most calls
        return ""
    others = replace(obligations, max_output_tokens=None)
    return orjson.dumps(others.document(), option=orjson.OPT_SORT_KEYS).decode() if others else ""


@functools.cache
def engine_version() -> str:
    """The version of the engine that gave the answers, as the log names it."""
    try:
        return importlib.metadata.version("agent-identity-gateway")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def _judge(
    judges: Panel,
    document: dict[str, Any],
    now_ns: int,
    seed: int | None,
    foreign: tuple[Reference, ...],
    ends: float,
) -> Authorization:
    """Judge an input document by all bundles of a panel; otherwise as `decide`."""
    if seed is None and judges.nondeterministic:
        seed = secrets.randbelow(MAX_INTEGER)
    recorded: dict[str, Mapping[str, Any]] = {}
    verdict = judges.refusal or combine(_verdicts(judges, document, now_ns, seed, ends, recorded))
    verdict = with_references(verdict, [each.kind for each in foreign])
    if "tool" in document["resource"]:
        verdict = with_tool(verdict, document)
    verdict = with_approval(verdict, document.get("approval"))
    kept, left_out = b"{}", dict[str, int]()
    try:
        kept, left_out = kept_of(document)
        if recorded and len(orjson.dumps(pe.dumps(dict(recorded)))) > _MAX_RECORDED:
            raise ValueError("policies drew too many values from clock and chance")
        if len(_besides_the_cap(verdict.obligations)) > _MAX_OBLIGATIONS:
            raise ValueError("the obligations are too many or too long")
        demanded = (*verdict.approvals, *verdict.over_limit)
        if len(demanded) > MAX_REQUIREMENTS or len(approvals_text(demanded)) > MAX_BYTES:
            raise ValueError("the approvals that policies require are too many or too long")
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: what orjson cannot express
        # The log cannot hold this decision, so it must not be made.
        verdict = Verdict("policy_error", verdict.reasons, detail=f"the decision cannot be recorded: {error}")
        recorded = {}
    return Authorization(
        allow=verdict.code == ALLOWED,
        code=verdict.code,
        reasons=verdict.reasons,
        detail=verdict.detail[:_MAX_DETAIL],
        obligations=verdict.obligations,
        limits=verdict.limits,
        panel=judges,
        input=document,
        kept_input=kept,
        left_out=left_out,
        foreign=foreign,
        now_ns=now_ns,
        seed=seed,
        nondeterministic=recorded,
        approvals=verdict.approvals,
        over_limit=verdict.over_limit,
        firm=verdict.firm,
    )


def _verdicts(
    judges: Panel,
    document: dict[str, Any],
    now_ns: int,
    seed: int | None,
    ends: float,
    recorded: dict[str, Mapping[str, Any]],
) -> list[tuple[Effect, Verdict]]:
    """Ask every member, so that the client learns all reasons. The members share the deadline.

    The values that they draw from clock and chance are put into `recorded`.
    """
    verdicts: list[tuple[Effect, Verdict]] = []
    for member in judges.members:
        name = member.ref.name
        verdict, drawn = asked(member.bundle, name, member.effect, document, now_ns, seed, ends)
        if drawn:
            recorded[member.ref.digest] = drawn
        if len(document["resource"]["models"]) > 1 and not member.bundle.models:
            verdicts.append((member.effect, one_model(name)))
        verdicts.append((member.effect, verdict))
    return verdicts


def asked(
    bundle: CompiledBundle,
    name: str,
    effect: Effect,
    document: Mapping[str, Any],
    now_ns: int,
    seed: int | None,
    ends: float,
) -> tuple[Verdict, Mapping[str, Any] | None]:
    """The verdict of one bundle, and what it drew from clock and chance. Does not raise."""
    left = ends - time.monotonic()
    if left <= 0:
        return Verdict("policy_deadline", detail=f"{name}: no time was left"), None
    try:
        answer = bundle.decide(document, now_ns=now_ns, seed=seed, limits=pe.Limits(left, MAX_WORK, MAX_OUTPUT))
    except pe.PolicyError as error:
        return failed(name, error), None
    except Exception as error:  # a defect of the engine is a refusal, and recorded like any other
        logger.exception("bundle %s cannot be evaluated", name)
        return Verdict("policy_error", detail=f"{name}: {type(error).__name__}: {error}"), None
    return answered(name, answer.value, effect), answer.nondeterministic


# Verdicts: shared with `reexecution.py`, which judges again from what the log kept


def answered(name: str, value: object, effect: Effect) -> Verdict:
    """The verdict of a bundle whose entrypoint has this value."""
    verdict = Verdict("policy_undefined") if value is pe.UNDEFINED else read(value, effect)
    return replace(verdict, detail=f"{name}: {verdict.detail}") if verdict.detail else verdict


def failed(name: str, error: pe.PolicyError) -> Verdict:
    """The verdict of a bundle whose evaluation ended in this error."""
    code = "policy_deadline" if error.code == "eval_cancel_error" else "policy_error"
    return Verdict(code, detail=f"{name}: {error}")


def one_model(name: str) -> Verdict:
    """A bundle that was written for calls of one model may have judged the first one only."""
    return Verdict(
        "policy_denied",
        reasons=("the request names several models, and a policy judges only one",),
        detail=f'{name}: its manifest does not say `"models": true`',
    )


def with_references(verdict: Verdict, kinds: Sequence[str]) -> Verdict:
    """A verdict on a call that names state of these kinds which its agent did not create here."""
    if verdict.code not in (ALLOWED, APPROVAL) or not kinds or verdict.foreign_references:
        return verdict
    named = ", ".join(sorted(set(kinds)))
    return Verdict("foreign_reference", detail=f"not created by this agent through this gateway: {named}")


def with_tool(verdict: Verdict, document: Mapping[str, Any]) -> Verdict:
    """A verdict on a call of a tool: nobody calls one that was not approved, whatever policies say."""
    tool = document["resource"].get("tool")
    if verdict.code not in (ALLOWED, APPROVAL) or tool is None or tool.get("approved") is True:
        return verdict
    return Verdict("tool_unapproved", reasons=(_UNAPPROVED.get(tool.get("state"), _UNAPPROVED["pinned"]),))


_UNAPPROVED: Final[dict[object, str]] = {
    "new": "nobody has approved this tool of the server yet",
    "changed": "the server says something else of this tool than was approved",
    "pinned": "the gateway does not trust this tool",
}
