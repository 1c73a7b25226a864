"""A decision judged again: from what the log kept of it, or from a document that somebody asks about.

The bundles are those that judged then (`bundles/<digest>/` keeps every revision), and so are the clock, the seed and
the values that policies drew. Each bundle also says which rules held and where the others failed. Content is not kept,
so a bundle that reads content is judged without it, and the answer says so.
Specification: architecture.md, section 10.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import policy_engine as pe
from gateway.audit import over_limits
from gateway.audit.halves_check import GRANTOR
from gateway.errors import GatewayError
from gateway.identity import key_scope
from gateway.identity.principals import Effect
from gateway.policy import authorization
from gateway.policy import bundle as policy_bundle
from gateway.policy.cache import CompiledBundle, compile_bundle, content_paths
from gateway.policy.decision import ALLOWED, APPROVAL, Verdict, beyond_limits, combine, lowest, read
from gateway.policy.input import content_of
from gateway.policy.obligations import Conflict, Obligations, together
from gateway.policy.similar_model import similar, with_model
from policy_engine.bundle import from_files

# The work that a request may take, but more time: this machine may be slower, and nobody waits for a provider.
_LIMITS: Final = pe.Limits(30.0, authorization.MAX_WORK, authorization.MAX_OUTPUT)
# Without indexes and joins an evaluation is more work.
EXPLAINING: Final = pe.Limits(30.0, 20 * authorization.MAX_WORK, 16 * authorization.MAX_OUTPUT)
NOT_KEPT: Final = "the input of this decision is not kept"
_USAGE_EDIT: Final = "stream_options.include_usage"


RuleOutcome: TypeAlias = pe.RuleOutcome
Failed: TypeAlias = pe.Failed


@dataclass(frozen=True, slots=True)
class RecordedBundle:
    """A bundle that judges, as the log names it: `bundles_json` of a `decided` entry."""

    name: str
    digest: str
    commit: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class BundleVerdict:
    """The verdict of one bundle. `unkept` are paths of content that it can read and that the document does not have."""

    judge: RecordedBundle
    verdict: Verdict
    unkept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExplainedVerdict(BundleVerdict):
    """The same, and why. `similar_model` is a model that it would allow, named nearly as that of the call, or empty.

    `sources` are the texts of its modules, by their paths inside the bundle.
    """

    entrypoint: str
    explanation: pe.Explanation
    rules: tuple[pe.RuleOutcome, ...]
    similar_model: str
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry's record of a decision."""

    allow: bool
    code: str
    reasons: tuple[str, ...]
    detail: str
    obligations: Obligations
    limits: Mapping[str, int] = field(default_factory=dict)
    # The approvals that policies demanded, as the entry has them.
    approvals: str = ""


@dataclass(frozen=True, slots=True)
class Reexecution:
    """A decision judged again. `verdict` is None if it could not be, and then `problem` says why.

    `agrees` says whether the verdict is the recorded one; None if that cannot be expected, and `problem` says why.
    """

    recorded: Recorded
    answers: tuple[ExplainedVerdict, ...]
    verdict: Verdict | None
    agrees: bool | None
    problem: str


def recorded(entry: Mapping[str, Any]) -> Recorded:
    """The decision in a `decided` entry."""
    return Recorded(
        allow=entry.get("allow") is True,
        code=str(entry.get("reason")),
        reasons=tuple(document_in(entry, "reasons_json", [])),
        detail=str(entry.get("detail") or ""),
        obligations=_obligations(entry),
        limits=document_in(entry, "policy_limits_json", {}),
        approvals=str(entry.get("approvals_json") or ""),
    )


def judges(entry: Mapping[str, Any]) -> list[RecordedBundle]:
    """The bundles that judged, according to a `decided` entry."""
    found = document_in(entry, "bundles_json", [])
    return [RecordedBundle(each["name"], each["digest"], each["commit"], each["effect"]) for each in found]


Ask: TypeAlias = Callable[[RecordedBundle, Mapping[str, Any], Mapping[str, Any] | None, int | None], BundleVerdict]
"""One bundle, asked about a document, with the values that it drew from clock and chance, and the seed."""


def judge_again(bundles: Path, entry: Mapping[str, Any], document: Mapping[str, Any] | None) -> Reexecution:
    """Judge once more what a `decided` entry and its private row say. Never raises for what they lack."""
    return _judged_again(entry, document, functools.partial(_answer, bundles, kept={}))


def _judged_again(entry: Mapping[str, Any], document: Mapping[str, Any] | None, ask: Ask) -> Reexecution:
    before = recorded(entry)
    if (refusal := outside_scope(entry)) is not None:
        return Reexecution(before, (), refusal, same(before, refusal, changed=False), "")
    members = judges(entry)
    if not members:
        return Reexecution(before, (), None, None, "no bundle was asked")
    if not is_input(document):
        return Reexecution(before, (), None, None, NOT_KEPT)
    assert document is not None
    drawn, seed = document_in(entry, "nondeterministic_json", {}), seed_in(entry.get("seed"))
    try:
        answers = [ask(each, document, drawn.get(each.digest), seed) for each in members]
    except GatewayError as error:
        return Reexecution(before, (), None, None, error.message)
    verdict = combined([(each.judge.effect, each.verdict) for each in answers], entry, document)
    explained = tuple(each for each in answers if isinstance(each, ExplainedVerdict))
    if same(before, verdict, changed=is_changed(entry)):
        return Reexecution(before, explained, verdict, True, "")
    problem = not_comparable(before, entry, [path for each in answers for path in each.unkept], verdict)
    return Reexecution(before, explained, verdict, None if problem else False, problem)


def outside_scope(entry: Mapping[str, Any]) -> Verdict | None:
    """The refusal of a call that is outside of the scope that its key had. The policies are not asked about it.

    None if it is inside and was not refused for its scope either. The input has the call as policies judge it; the
    entry has the models that the client named.
    """
    try:
        scope = key_scope.parse(str(entry.get("key_scope_json") or "null"))
    except (ValueError, TypeError):  # a log that was tampered with
        return None
    action, model, peer = entry.get("action"), entry.get("model"), entry.get("peer_address")
    if not isinstance(action, str):
        return None
    models = document_in(entry, "models_json", []) or ([model] if isinstance(model, str) else [])
    upstream = str(entry.get("upstream", ""))
    if isinstance(entry.get("callee_name"), str):
        upstream = f"{entry.get('callee_organization')}/{entry['callee_name']}"
    found = authorization.scope_verdict(scope, action, models, peer if isinstance(peer, str) else None, upstream)
    return Verdict(ALLOWED) if found is None and entry.get("reason") == "key_scope" else found


class Court:
    """Judges many decisions again. Every bundle is compiled once, and no rule is explained."""

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles
        self._compiled: dict[str, CompiledBundle] = {}

    def again(self, entry: Mapping[str, Any], document: Mapping[str, Any] | None) -> tuple[bool | None, str]:
        """True if the recorded verdict comes out again; None and the reason if that cannot be said."""
        found = _judged_again(entry, document, self._ask)
        if found.agrees is False and found.verdict is not None:
            return False, f"recorded {found.recorded.code}, judged again {found.verdict.code}"
        return found.agrees, found.problem

    def _ask(
        self, judge: RecordedBundle, document: Mapping[str, Any], drawn: Mapping[str, Any] | None, seed: int | None
    ) -> BundleVerdict:
        if judge.digest not in self._compiled:
            self._compiled[judge.digest] = compiled_of(self._bundles, judge)[0]
        compiled = self._compiled[judge.digest]
        return BundleVerdict(judge, verdict_of(compiled, judge, document, drawn, seed), _unkept(compiled, document))


def ask(
    bundles: Path,
    members: Sequence[RecordedBundle],
    document: Mapping[str, Any],
    drawn: Mapping[str, Mapping[str, Any]],
    *,
    seed: int | None,
    compiled: Mapping[str, CompiledBundle] = MappingProxyType({}),
) -> tuple[ExplainedVerdict, ...]:
    """The answer of each bundle to a document; `drawn` are the values of clock and chance, by the bundle's digest.

    `compiled` are bundles that the caller has, by their digests. Raises `GatewayError` if a bundle is not there any
    more, or was changed.
    """
    return tuple(_answer(bundles, each, document, drawn.get(each.digest), seed, compiled) for each in members)


def modules_of(files: Mapping[str, bytes]) -> Mapping[str, str]:
    """The sources of a bundle's modules, by their paths inside it."""
    return from_files(files.items(), tests=False).modules


def value_text(value: Any) -> str | None:
    """A value of a rule or an expression as JSON text; None if it is undefined."""
    return None if value is pe.UNDEFINED else pe.dumps(value)


def is_input(document: Mapping[str, Any] | None) -> bool:
    parts = ("resource", "request", "time")
    return document is not None and all(isinstance(document.get(part), dict) for part in parts)


def compiled_of(
    bundles: Path, judge: RecordedBundle, compiled: Mapping[str, CompiledBundle] = MappingProxyType({})
) -> tuple[CompiledBundle, Mapping[str, bytes]]:
    """The bundle as it judged, and its files. Raises `GatewayError` if it is not there any more, or was changed."""
    files = policy_bundle.read(bundles / judge.digest)
    try:
        return compiled.get(judge.digest) or compile_bundle(files, judge.digest, judge.name), files
    except pe.PolicyError as error:
        raise GatewayError("bundle_broken", f"bundle `{judge.name}` does not compile: {error}") from error


def _answer(
    bundles: Path,
    judge: RecordedBundle,
    document: Mapping[str, Any],
    drawn: Mapping[str, Any] | None,
    seed: int | None,
    kept: Mapping[str, CompiledBundle] = MappingProxyType({}),
) -> ExplainedVerdict:
    compiled, files = compiled_of(bundles, judge, kept)
    explanation = compiled.explain(document, limits=EXPLAINING, **moment(document, drawn, seed))
    content = from_files(files.items(), tests=False)
    rules = explanation.rules(content.modules)
    verdict = verdict_of(compiled, judge, document, drawn, seed)
    meant = ""
    if verdict.code in ("policy_denied", "policy_undefined") and isinstance(document["resource"]["model"], str):
        for model in similar(document["resource"]["model"], content.modules, content.data):
            if verdict_of(compiled, judge, with_model(document, model), drawn, seed).code == ALLOWED:
                meant = model
                break
    unkept = _unkept(compiled, document)
    return ExplainedVerdict(
        judge, verdict, unkept, compiled.entrypoint, explanation, rules, meant, sources=content.modules
    )


def moment(document: Mapping[str, Any], drawn: Mapping[str, Any] | None, seed: int | None) -> dict[str, Any]:
    return {"now_ns": document["time"]["now_ns"], "seed": seed, "replay": drawn}


def verdict_of(
    compiled: CompiledBundle,
    judge: RecordedBundle,
    document: Mapping[str, Any],
    drawn: Mapping[str, Any] | None,
    seed: int | None,
) -> Verdict:
    """The verdict of one bundle on a document."""
    try:
        value = compiled.decide(document, limits=_LIMITS, **moment(document, drawn, seed)).value
        verdict = authorization.answered(judge.name, value, judge.effect)
    except pe.PolicyError as error:
        verdict = authorization.failed(judge.name, error)
    if len(document["resource"]["models"]) > 1 and not compiled.models:
        verdict = combine([("grant", authorization.one_model(judge.name)), (judge.effect, verdict)])
    return verdict


def _unkept(compiled: CompiledBundle, document: Mapping[str, Any]) -> tuple[str, ...]:
    if "body" in document["request"]:
        return ()
    return content_of(content_paths(compiled.input_paths), document)


def combined(
    answers: Sequence[tuple[Effect, Verdict]], entry: Mapping[str, Any], document: Mapping[str, Any]
) -> Verdict:
    """All answers as one verdict, with what the gateway adds to them."""
    return enforced(judged(answers, entry, document), entry, document)


def judged(answers: Sequence[tuple[Effect, Verdict]], entry: Mapping[str, Any], document: Mapping[str, Any]) -> Verdict:
    """All answers as one verdict; nobody has looked yet whether the call meets what they oblige it to."""
    verdict = combine(answers)
    foreign = (
        [str(each["kind"]) for each in document["resource"]["references"]] if entry.get("foreign_references") else []
    )
    verdict = authorization.with_references(verdict, foreign)
    verdict = authorization.with_tool(verdict, document)
    if verdict.code in (ALLOWED, APPROVAL) and over_limits.is_demanded(entry):
        verdict = beyond_limits(verdict)
    return authorization.with_approval(verdict, document.get("approval"))


def enforced(verdict: Verdict, entry: Mapping[str, Any], document: Mapping[str, Any]) -> Verdict:
    """The verdict on the call as it was forwarded, which must meet its obligations."""
    if verdict.code == ALLOWED and authorization.unmet(verdict.obligations, document):
        # The obligation of a changed call may be of the first judgement, which is not kept, or of the second.
        first = not is_changed(entry) or entry.get("reason") == "policy_unsupported"
        return Verdict("policy_unsupported") if first else authorization.CHANGED_TWICE
    return verdict


def is_changed(entry: Mapping[str, Any]) -> bool:
    """The gateway changed this call as the policies obliged it to, so that what is kept is the second judgement."""
    return bool(set(document_in(entry, "edits_json", [])) - {_USAGE_EDIT})


def same(before: Recorded, verdict: Verdict, *, changed: bool) -> bool:
    """True if a verdict is the recorded one. The log cuts long reasons, so those are compared as far as it has them.

    The obligations and limits of both judgements of a changed call are recorded, so the second may add nothing
    to them.
    """
    if before.code != verdict.code:
        return False
    if verdict.code in (ALLOWED, APPROVAL):
        demanded = authorization.approvals_text(verdict.approvals) if verdict.approvals else ""
        if before.approvals != demanded:
            return False
    obliged = verdict.obligations
    if changed:
        try:
            obliged = together([before.obligations, obliged])
        except Conflict:
            return False
    if before.obligations != obliged or before.limits != lowest([before.limits if changed else {}, verdict.limits]):
        return False
    kept, now = list(before.reasons), list(verdict.reasons)
    if kept and kept[-1] == f"… and {len(now) - len(kept) + 1} more":
        kept.pop()
        now = now[: len(kept)]
    return len(kept) == len(now) and all(
        old == new or (old.endswith("…") and new.startswith(old[:-1])) for old, new in zip(kept, now, strict=True)
    )


def not_comparable(before: Recorded, entry: Mapping[str, Any], unkept: Sequence[str], verdict: Verdict) -> str:
    """The reason why another verdict is no contradiction; empty if it is one."""
    if before.code == "policy_deadline":
        return "the policies took too long then; they were given more time now"
    if before.code == "limit_exceeded":
        return "the policies allow it; a limit was used up when it was recorded"
    if before.code == authorization.PERSON_REQUIRED.code and verdict.code in (ALLOWED, APPROVAL):
        return "the policies allow it; its upstream is called on behalf of persons, and the agent acted for none"
    if before.code in authorization.OF_CALLEE and verdict.code == ALLOWED:
        return "the policies of this side allow it; the agent that was called did not"
    if before.code == GRANTOR.refusal and verdict.code in (ALLOWED, APPROVAL):
        return "the policies of this side allow it; the mandate that it named did not let it through"
    if before.code == APPROVAL and verdict.code == ALLOWED:
        return "the policies allow it with its approval; the log found that this could not be used"
    if before.code == "limit_unenforceable":
        return "the policies allow it; a limit applied that the gateway could not enforce on it"
    if before.code == "policy_unsupported" and verdict.code == ALLOWED and is_changed(entry):
        return "the policies allow it; the gateway could not do what they oblige it to"
    if before.code == authorization.CHANGED_TWICE.code and verdict.code == ALLOWED and is_changed(entry):
        return "the policies allow it; once more they would have changed the request, in a way that is not kept"
    if left_out := document_in(entry, "left_out_json", {}):
        return f"the input was too long to be kept whole: members of {', '.join(sorted(left_out))} were left out"
    if unkept:
        return f"content is not kept, and policies read it: {', '.join(sorted(set(unkept)))}"
    if before.detail.startswith("the decision cannot be recorded"):
        return before.detail
    if entry.get("engine") not in (None, authorization.engine_version()):
        return f"version {entry.get('engine')} judged then, and this is {authorization.engine_version()}"
    return ""


def _obligations(entry: Mapping[str, Any]) -> Obligations:
    """The obligations in an entry; those that no decision could have had are not taken from it."""
    members = dict(document_in(entry, "obligations_json", {}))
    if (cap := entry.get("max_output_tokens")) is not None:
        members["max_output_tokens"] = cap
    return read({"obligations": members}, "guard").obligations


def document_in(entry: Mapping[str, Any], name: str, empty: Any) -> Any:
    """The document in a member of an entry. A log that was tampered with may hold anything there."""
    text = entry.get(name)
    if not text:
        return empty
    try:
        found = json.loads(str(text))
    except ValueError:
        return empty
    return found if type(found) is type(empty) else empty


def seed_in(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() else None
