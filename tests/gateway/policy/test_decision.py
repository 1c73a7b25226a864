"""Reading one decision document and combining several: cases as data, and the law that nothing fails open.

The law is stated twice and independently. `may_go_ahead` below says in a few lines of its own when a request may go
ahead; hypothesis looks for documents on which the product is more generous. And `schemas/decision.schema.json` says
which documents are decisions at all; the product must agree with it on every document.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import REASONS
from gateway.identity.principals import Effect
from gateway.policy.decision import ALLOWED, PRECEDENCE, Verdict, combine, read
from tests.cases import read_yaml

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE.parents[2] / "schemas" / "decision.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def cases(name: str) -> list[Any]:
    return [pytest.param(case, id=case["note"]) for case in read_yaml(HERE / name)]


def expected(case: dict[str, Any]) -> tuple[str, tuple[str, ...], dict[str, Any], dict[str, int]]:
    return case["code"], tuple(case.get("reasons", ())), case.get("obligations", {}), case.get("limits", {})


def members(verdict: Verdict) -> tuple[str, tuple[str, ...], dict[str, Any], dict[str, int]]:
    return verdict.code, verdict.reasons, verdict.obligations.document(), dict(verdict.limits)


@pytest.mark.parametrize("case", cases("reading.yaml"))
def test_reading(case: dict[str, Any]) -> None:
    verdict = read(case["document"], case.get("effect", "grant"))
    assert members(verdict) == expected(case), verdict.detail
    # A policy author must be told what is wrong; what a policy says speaks for itself.
    assert bool(verdict.detail) == (verdict.code in ("policy_bad_decision", "policy_unsupported"))


@pytest.mark.parametrize("case", cases("combining.yaml"))
def test_combining(case: dict[str, Any]) -> None:
    bound: list[tuple[Effect, Verdict]] = [("grant", read(document, "grant")) for document in case.get("grants", ())]
    bound += [("guard", read(document, "guard")) for document in case.get("guards", ())]
    for order in (bound, bound[::-1]):
        verdict = combine(order)
        assert members(verdict) == expected(case), verdict.detail
        if "detail" in case:
            assert verdict.detail == case["detail"]


def test_every_code_is_a_reason_code() -> None:
    assert set(PRECEDENCE) < set(REASONS)
    assert ALLOWED not in REASONS


def test_a_code_nobody_knows_is_a_refusal() -> None:
    assert combine([("grant", Verdict("surprise"))]).code == "policy_error"


# Documents near to real decisions: one that would be fine, with at most two members put in that may not be. Anything
# wilder would be refused for so many reasons at once that no single check would be needed.
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.just(2**53), st.just(7.5), st.sampled_from(["", "a", "true"])
)
JUNK = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("msg"), inner))
REASON = st.fixed_dictionaries({"msg": st.sampled_from(["c", 1])}, optional={"code": st.just("d")})
LIMIT_NAMES = st.sampled_from(["requests_per_hour", "tokens_per_day", "concurrent_requests", "tokens_per_year"])
APPROVERS = st.dictionaries(st.sampled_from(["teams", "operators", "team"]), st.lists(SCALARS, max_size=1) | SCALARS)
APPROVAL = st.fixed_dictionaries(
    {"reason": st.just("big") | SCALARS},
    optional={
        "approvers": st.just({"teams": ["finance"]}) | APPROVERS | SCALARS,
        "quorum": st.integers(0, 2) | SCALARS,
        "expires_seconds": st.integers(0, 2) | SCALARS,
        "scope": st.sampled_from(["request", "session", "agent"]) | SCALARS,
        "four_eyes": st.booleans() | SCALARS,
        "escalate": st.fixed_dictionaries({"after_seconds": st.integers(0, 2)}, optional={"teams": st.just(["red"])})
        | SCALARS,
        "note": SCALARS,
    },
)
MEMBERS = st.one_of(
    st.tuples(st.just("allow"), st.booleans() | SCALARS),
    st.tuples(st.just("deny"), st.lists(st.sampled_from(["a", "b"]) | REASON | SCALARS, max_size=2) | JUNK),
    st.tuples(st.just("limits"), st.dictionaries(LIMIT_NAMES, st.integers(-1, 1) | SCALARS, max_size=1)),
    st.tuples(st.just("require_approval"), st.lists(APPROVAL | SCALARS, max_size=1) | JUNK),
    st.tuples(st.just("references"), st.sampled_from(["allowed", "allowed", "own"]) | SCALARS),
    st.tuples(st.just("obligations"), JUNK),
    st.tuples(st.sampled_from(["_deny", "denied", "Allow", "obligation", ""]), JUNK),
)
HEADER = st.sampled_from(["x-team", "x-purpose", "X-Team", "authorization", "x-team\n"])
TEXT = st.sampled_from(["m", "m", "n", "m\n", " m", "m m", "é", "aig_op_", "x" * 256, "x" * 257, "y" * 513])
OBLIGATIONS = st.one_of(
    st.tuples(st.just("max_output_tokens"), st.integers(0, 5) | SCALARS),
    st.tuples(st.just("strip_tools"), st.lists(SCALARS, max_size=1) | JUNK),
    st.tuples(st.just("set_headers"), st.dictionaries(HEADER, TEXT | SCALARS, max_size=1) | JUNK),
    st.tuples(st.just("model"), TEXT | SCALARS),
    st.tuples(st.sampled_from(["max_tokens", "_max_output_tokens"]), SCALARS),
)


@st.composite
def decisions(draw: st.DrawFn) -> Any:
    document: dict[str, Any] = draw(st.sampled_from([{"allow": True}, {"allow": True, "deny": []}, {}]))
    document = document | dict(draw(st.lists(MEMBERS, max_size=1)))
    if "obligations" not in document and (obligations := draw(st.lists(OBLIGATIONS, max_size=2))):
        document["obligations"] = dict(obligations)
    return document


DOCUMENTS = st.one_of(decisions(), decisions(), decisions(), JUNK)
THOROUGH = settings(max_examples=400)
BOUND = st.lists(st.tuples(st.sampled_from(["grant", "guard"]), DOCUMENTS), max_size=3)


def may_go_ahead(bound: list[tuple[Effect, Any]]) -> bool:
    """The law, in words of its own: what must be true of every document before a request may be forwarded."""
    if not any(effect == "grant" for effect, _ in bound):
        return False
    for effect, document in bound:
        if not VALIDATOR.is_valid(document):
            return False
        if effect == "grant" and document.get("allow") is not True:
            return False
        if document.get("deny") or document.get("require_approval"):
            return False
    # No model and no header may have two values.
    obligations = [document.get("obligations", {}) for _, document in bound]
    wanted = {("model", each["model"]) for each in obligations if "model" in each}
    wanted |= {header for each in obligations for header in each.get("set_headers", {}).items()}
    return len(wanted) == len({name for name, _ in wanted})


@THOROUGH
@given(BOUND)
@example([("guard", {"allow": True})])
@example([("grant", {"allow": 1})])
@example([("grant", {"allow": True}), ("guard", {"deny": ["no"]})])
@example([("grant", {"allow": True, "obligations": {"model": "m"}}), ("guard", {"obligations": {"model": "n"}})])
def test_nothing_fails_open(bound: list[tuple[Effect, Any]]) -> None:
    verdict = combine([(effect, read(document, effect)) for effect, document in bound])
    assert (verdict.code == ALLOWED) == may_go_ahead(bound)
    assert verdict.code == ALLOWED or verdict.code in REASONS


@given(st.lists(st.tuples(st.sampled_from(["grant", "guard"]), st.none() | st.integers(1, 9)), max_size=4))
def test_of_several_caps_the_smallest_holds(bound: list[tuple[Effect, int | None]]) -> None:
    documents: list[tuple[Effect, Any]] = [
        (effect, {"allow": True} | ({} if cap is None else {"obligations": {"max_output_tokens": cap}}))
        for effect, cap in [("grant", None), *bound]
    ]
    verdict = combine([(effect, read(document, effect)) for effect, document in documents])
    assert verdict.code == ALLOWED
    assert verdict.obligations.max_output_tokens == min((cap for _, cap in bound if cap is not None), default=None)


@given(st.lists(st.tuples(st.sampled_from(["grant", "guard"]), st.booleans()), max_size=4))
def test_foreign_references_need_the_word_of_every_grant(bound: list[tuple[Effect, bool]]) -> None:
    documents: list[tuple[Effect, Any]] = [
        (effect, {"allow": True} | ({"references": "allowed"} if says else {})) for effect, says in bound
    ]
    verdict = combine([(effect, read(document, effect)) for effect, document in documents])
    grants = [says for effect, says in bound if effect == "grant"]
    assert verdict.foreign_references == (bool(grants) and all(grants))


@given(st.lists(st.tuples(st.sampled_from(["grant", "guard"]), DOCUMENTS), max_size=3), st.randoms())
def test_the_order_of_bindings_plays_no_part(bound: list[tuple[Effect, Any]], random: Any) -> None:
    verdicts = [(effect, read(document, effect)) for effect, document in bound]
    shuffled = list(verdicts)
    random.shuffle(shuffled)
    assert combine(shuffled) == combine(verdicts)


@given(BOUND, st.sampled_from(["grant", "guard"]), DOCUMENTS)
def test_one_more_bundle_never_opens(bound: list[tuple[Effect, Any]], effect: Effect, more: Any) -> None:
    """If there is a grant, binding another bundle can only take away."""
    verdicts: list[tuple[Effect, Verdict]] = [(each, read(document, each)) for each, document in bound]
    before = combine(verdicts)
    after = combine([*verdicts, (effect, read(more, effect))])
    if before.code != "no_policy" and after.code == ALLOWED:
        assert before.code == ALLOWED
        was, now = before.obligations, after.obligations
        assert was.max_output_tokens is None or (now.max_output_tokens or 0) <= was.max_output_tokens
        assert was.strip_tools <= now.strip_tools
        assert was.set_headers.items() <= now.set_headers.items()
        assert was.model in (None, now.model)


@THOROUGH
@given(DOCUMENTS, st.sampled_from(["grant", "guard"]))
def test_the_schema_says_what_a_decision_is(document: Any, effect: Effect) -> None:
    assert (read(document, effect).code != "policy_bad_decision") == VALIDATOR.is_valid(document)
