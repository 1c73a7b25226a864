"""From principal and call to a decision, with real bundles compiled by the real engine."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import policy_engine as pe
from gateway.call import Call, Reference
from gateway.identity.principals import Principal
from gateway.policy.input import CONTENT_PATHS, build_input, without_content
from gateway.policy.obligations import NOTHING
from gateway.registry.port import BundleRef

if TYPE_CHECKING:
    from .conftest import Court

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "input.schema.json").read_text("utf-8"))
NOW_NS = 1772618400 * 10**9
HOUR_NS = 3600 * 10**9


# --- the input document


@pytest.mark.parametrize("body", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "stream": True,
            "max_output_tokens": 0,
            "system_prompts": ("ab" * 32,),
            "references": (Reference("file", "f"),),
        },
        {"action": "models.list", "method": "GET", "path": "/v1/models", "body": None, "model": None, "tools": ()},
        {"params": {"model": "gpt-4o"}},
    ],
)
def test_the_input_is_what_the_schema_says(
    make_principal: Callable[..., Principal], make_call: Callable[..., Call], changes: dict[str, Any], body: bool
) -> None:
    usage = {"requests": {"minute": 1, "day": 2}, "tokens": {"day": 3}}
    for advice in (None, usage):
        document = build_input(make_principal(), make_call(**changes), NOW_NS, advice, body=body)
        jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
        assert ("body" in document["request"]) == body
        pe.check(document)


def test_the_input_shares_the_body(make_principal: Callable[..., Principal], make_call: Callable[..., Call]) -> None:
    asked = make_call()
    assert build_input(make_principal(), asked, NOW_NS, body=True)["request"]["body"] is asked.body


@pytest.mark.parametrize(
    ("now_ns", "weekday", "hour"),
    [
        (0, "Thursday", 0),
        (NOW_NS, "Wednesday", 10),
        (NOW_NS + 14 * HOUR_NS - 1, "Wednesday", 23),
        (NOW_NS + 14 * HOUR_NS, "Thursday", 0),
        (NOW_NS + 4 * 24 * HOUR_NS, "Sunday", 10),
    ],
)
def test_the_time(
    make_principal: Callable[..., Principal], make_call: Callable[..., Call], now_ns: int, weekday: str, hour: int
) -> None:
    found = build_input(make_principal(), make_call(), now_ns)["time"]
    assert found == {"now_ns": now_ns, "zone": "UTC", "weekday": weekday, "hour": hour}
    assert time.strftime("%A %H", time.gmtime(now_ns // 10**9)) == f"{weekday} {hour:02}"


def test_content_is_what_the_schema_marks() -> None:
    assert _marked(SCHEMA) == list(CONTENT_PATHS)


def _marked(schema: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    found = [path] if schema.get("x-content") else []
    for name, inner in schema.get("properties", {}).items():
        found += _marked(inner, (*path, name))
    return found


# --- who judges


def test_a_grant(court: Court) -> None:
    court.seat("a", 'allow if input.resource.model == "gpt-4o-mini"')
    allowed = court.decide()
    assert (allowed.allow, allowed.code, allowed.reasons, allowed.detail) == (True, "allowed", (), "")
    assert [(member.ref, member.effect) for member in allowed.panel.members] == [(court.refs["a"], "grant")]


def test_no_binding(court: Court) -> None:
    refused = court.decide()
    assert (refused.allow, refused.code) == (False, "no_policy")
    # The request is kept all the same: a policy that would have allowed it can be tried on it.
    assert json.loads(refused.kept_input) == refused.input
    assert refused.input["resource"]["model"] == "gpt-4o-mini"
    assert refused.fields()["bundles_json"] == "[]"


def test_only_guards(court: Court) -> None:
    court.seat("a", "allow := true", "guard")
    assert court.decide().code == "no_policy"


def test_a_bundle_in_no_activation(court: Court) -> None:
    court.seat("a", "allow := true")
    court.bind("b", "guard")
    refused = court.decide()
    assert (refused.allow, refused.code) == (False, "policy_not_loaded")
    assert "b" in refused.detail


def test_a_revision_that_is_not_in_memory(court: Court) -> None:
    court.seat("a", "allow := true")
    court.refs["b"] = court.publish("b", "allow := true")
    court.bind("b")
    assert court.decide().code == "policy_not_loaded"
    court.cache.load(court.refs["b"].digest)
    assert court.decide().code == "allowed"


def test_a_pinned_revision(court: Court) -> None:
    court.seat("a", "allow := false")
    old = court.publish("a", "allow := true")._replace(commit="d" * 40)
    court.pinned["a", "d" * 40] = old
    court.bindings.clear()
    court.bind("a", pinned="d" * 40)
    assert court.decide().code == "policy_not_loaded"
    court.cache.load(old.digest)
    allowed = court.decide()
    assert allowed.allow
    assert allowed.panel.members[0].ref.commit == "d" * 40


def test_a_pinned_revision_that_nobody_knows(court: Court) -> None:
    court.seat("a", "allow := true")
    court.bind("a", "guard", pinned="e" * 40)
    assert court.decide().code == "policy_not_loaded"


def test_an_entrypoint_other_than_recorded(court: Court) -> None:
    court.seat("a", "allow := true")
    court.refs["a"] = BundleRef("a", court.refs["a"].digest, "c" * 40, "data.a.other")
    assert court.decide().code == "policy_not_loaded"


# --- what they answer


def test_reasons_and_caps_of_several(court: Court) -> None:
    court.seat("a", 'allow := true\n\nobligations := {"max_output_tokens": 100}')
    court.seat("g", 'obligations := {"max_output_tokens": 60}', "guard")
    assert court.decide().obligations.document() == {"max_output_tokens": 60}
    court.seat("b", 'default allow := false\n\ndeny contains "b"')
    court.seat("h", 'deny contains {"msg": "a"}', "guard")
    refused = court.decide()
    assert (refused.code, refused.reasons, refused.obligations) == ("policy_denied", ("a", "b"), NOTHING)


def test_the_same_bundle_as_grant_and_guard(court: Court) -> None:
    court.seat("a", "allow := true")
    court.bind("a", "guard")
    assert court.decide().allow
    assert [member.effect for member in court.decide().panel.members] == ["grant", "guard"]


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        pytest.param("", "policy_undefined", id="no rule at all"),
        pytest.param("allow if input.nothing", "policy_undefined", id="nothing holds"),
        pytest.param("allow := 1", "policy_bad_decision", id="a number"),
        pytest.param("allow := true\n\nobligation := {}", "policy_bad_decision", id="a misspelt rule"),
        pytest.param("allow := true\n\n_x := 1\n\nf(x) := x + 1", "allowed", id="a private rule and a function"),
        pytest.param("allow := true\n\nsub.x := 1", "policy_bad_decision", id="an inner package"),
        pytest.param('allow := true\n\nlimits := {"requests_per_minute": 1}', "allowed", id="a limit"),
        pytest.param(
            'allow := true\n\nrequire_approval contains {"reason": "x"} if input.no',
            "allowed",
            id="an empty set of approvals",
        ),
        pytest.param(
            'allow := true\n\nrequire_approval contains {"reason": "x", "approvers": {"teams": {"a", "b"}}}',
            "approval_required",
            id="an approval",
        ),
        pytest.param(
            'allow := true\n\nrequire_approval contains {"reason": "x", "scope": "session"}',
            "policy_unsupported",
            id="an approval for a session",
        ),
        pytest.param('allow := true\n\nrequire_approval contains "x"', "policy_bad_decision", id="no approval"),
        pytest.param(
            "allow := true\n\ndeny contains x if x := count(input.request.messages)",
            "policy_error",
            id="a builtin's error",
        ),
        pytest.param("allow := true if input.action\n\nallow := false if input.agent", "policy_error", id="two values"),
    ],
)
def test_every_failure_has_its_own_code(court: Court, rules: str, code: str) -> None:
    court.seat("a", rules)
    found = court.decide()
    assert (found.code, found.allow) == (code, code == "allowed"), found.detail
    # The log says which bundle it was.
    assert found.detail.startswith("a: ") == (code not in ("allowed", "policy_undefined", "approval_required"))


def test_a_builtins_error_in_a_guard_does_not_open(court: Court) -> None:
    """The way OPA's default mode fails open: a denial that cannot be computed is no denial."""
    court.seat("a", "allow := true")
    court.seat("g", 'deny contains "never" if regex.match("^rm ", input.request.roles)', "guard")
    assert court.decide().code == "policy_error"


def test_a_negation_of_the_undefined_does_not_open(court: Court) -> None:
    court.seat("a", "f(x) := x\n\nallow if not f(input.resource.nothing) == 1")
    assert court.decide().code == "policy_undefined"


RUNAWAY = "allow if count([1 | numbers.range(1, 9999)[_]; numbers.range(1, 9999)[_]]) > 1"


def test_the_deadline_is_for_all_together(court: Court) -> None:
    court.seat("a", RUNAWAY)
    court.seat("b", RUNAWAY)
    refused = court.decide(ends=time.monotonic() + 0.05)
    assert refused.code == "policy_deadline"
    assert "b: no time was left" in refused.detail


def test_a_long_explanation_is_cut(court: Court) -> None:
    court.seat("a", f"allow := true\n\n{'x' * 5000} := 1")
    assert len(court.decide().detail) == 500


# --- several models, and state that others created


JUDGES_ALL = 'allow if every model in input.resource.models { startswith(model, "gpt-") }'


def test_a_bundle_that_judges_one_model_does_not_let_several_pass(court: Court, make_call: Callable[..., Call]) -> None:
    several = make_call(models=("gpt-4o-mini", "gpt-4o"))
    court.seat("a", JUDGES_ALL, models=True)
    assert court.decide(several).allow
    court.seat("b", 'allow if input.resource.model == "gpt-4o-mini"')
    assert court.decide().allow
    refused = court.decide(several)
    assert (refused.code, refused.detail) == ("policy_denied", 'b: its manifest does not say `"models": true`')
    assert refused.reasons == ("the request names several models, and a policy judges only one",)


def test_a_guard_is_asked_for_its_word_too(court: Court, make_call: Callable[..., Call]) -> None:
    several = make_call(models=("gpt-4o-mini", "gpt-4o"))
    court.seat("a", JUDGES_ALL, models=True)
    court.seat("g", 'deny contains "o3" if input.resource.model == "o3"', "guard")
    assert court.decide(several).code == "policy_denied"
    court.seat("h", 'deny contains "o3" if "o3" in input.resource.models', "guard", models=True)
    court.bindings.pop(1)
    assert court.decide(several).allow


FOREIGN = Reference("file", "file-1"), Reference("audio", "audio-1")


def test_foreign_state_is_denied_unless_every_grant_allows_it(court: Court, make_call: Callable[..., Call]) -> None:
    asked = make_call(references=FOREIGN)
    court.seat("a", 'allow := true\n\nreferences := "allowed"')
    allowed = court.decide(asked, foreign=FOREIGN)
    assert allowed.allow
    assert allowed.fields()["foreign_references"] == 2
    court.seat("g", "", "guard")
    assert court.decide(asked, foreign=FOREIGN).allow
    court.seat("b", "allow := true")
    refused = court.decide(asked, foreign=FOREIGN)
    assert (refused.allow, refused.code) == (False, "foreign_reference")
    assert refused.detail == "not created by this agent through this gateway: audio, file"
    # Its own it may use.
    own = court.decide(asked)
    assert own.allow
    assert "foreign_references" not in own.fields()


def test_what_a_policy_says_comes_before_foreign_state(court: Court, make_call: Callable[..., Call]) -> None:
    court.seat("a", 'allow := true\n\ndeny contains "no files" if input.resource.references[_].kind == "file"')
    assert court.decide(make_call(references=FOREIGN), foreign=FOREIGN).reasons == ("no files",)


# --- what is recorded


def test_the_whole_input_is_kept(court: Court, make_call: Callable[..., Call]) -> None:
    """Also what no bundle of today reads: a bundle of tomorrow is tried on it."""
    court.seat("a", 'allow if input.resource.model == "gpt-4o-mini"')
    allowed = court.decide(usage={"tokens": {"day": 4}, "requests": {"day": 1}})
    assert allowed.allow
    assert allowed.recomputable
    assert json.loads(allowed.kept_input) == allowed.input
    assert allowed.kept_input == json.dumps(allowed.input, sort_keys=True, separators=(",", ":")).encode()
    assert "unkept_json" not in allowed.fields()
    tomorrow = court.publish(
        "b", 'allow if { input.agent.labels["cost-center"] == "4711"; input.usage.tokens.day < 5 }'
    )
    judge = court.cache.load(tomorrow.digest)
    assert judge.decide(pe.loads(allowed.kept_input), now_ns=allowed.now_ns).value == {"allow": True}


def test_what_is_kept_gives_the_same_answer(court: Court) -> None:
    court.seat("a", 'allow if {\n\tsome tool in input.request.tools\n\ttool.name == "get_order"\n}')
    first = court.decide()
    kept = pe.loads(first.kept_input)
    assert first.panel.members[0].bundle.decide(kept, now_ns=first.now_ns).value == {"allow": True}


@pytest.mark.parametrize(
    ("body", "unkept"),
    [
        ("input.request.body.temperature < 1", ["request.body.temperature"]),
        (
            "input.request.body.temperature < 1; input.request.body.messages[0].role",
            ["request.body.messages", "request.body.temperature"],
        ),
        ("input.request.body.temperature < 1; input.request.body", ["request.body"]),
        ("some x; input.request[x]", ["request.body"]),
        ("some x; input[x]", ["request.body"]),
        ("walk(input, [_, 0.2])", ["request.body"]),
    ],
)
def test_content_is_seen_but_not_kept(court: Court, body: str, unkept: list[str]) -> None:
    court.seat("a", f"allow if {{ {body} }}")
    allowed = court.decide()
    assert allowed.allow, allowed.detail
    assert not allowed.recomputable
    fields = allowed.fields()
    assert (fields["recomputable"], json.loads(str(fields["unkept_json"]))) == (False, unkept)
    assert "Hello" in json.dumps(allowed.input)
    assert b"Hello" not in allowed.kept_input
    assert b"temperature" not in allowed.kept_input
    request = {name: value for name, value in allowed.input["request"].items() if name != "body"}
    assert json.loads(allowed.kept_input) == {**allowed.input, "request": request}


def test_endless_paths_of_content_are_named_by_what_contains_them(court: Court) -> None:
    court.seat("a", "\n\n".join(f'allow if input.request.body["{"x" * 50}{number}"]' for number in range(200)))
    assert json.loads(str(court.decide().fields()["unkept_json"])) == ["request.body"]


def test_without_need_the_body_is_not_even_built(court: Court) -> None:
    court.seat("a", "allow if input.request.stream == false")
    allowed = court.decide()
    assert allowed.allow
    assert "body" not in allowed.input["request"]


def test_chance_and_clock_are_recorded(court: Court) -> None:
    court.seat("a", 'allow if {\n\ttime.now_ns() == input.time.now_ns\n\trand.intn("x", 1000000) >= 0\n}')
    first = court.decide()
    assert first.allow, first.detail
    assert first.seed is not None
    assert first.now_ns == NOW_NS
    again = court.decide(seed=first.seed)
    assert again.nondeterministic == first.nondeterministic
    assert first.nondeterministic
    assert pe.loads(str(first.fields()["nondeterministic_json"])) == first.nondeterministic


def test_more_than_the_log_can_hold_is_an_error(court: Court) -> None:
    draws = (
        """
_draws := [rand.intn(sprintf("%s%d", [`"""
        """""`, number]), 9) | some number in numbers.range(1, NUMBER)]

allow if count(_draws) == NUMBER
"""
    )
    court.seat("a", draws.replace("NUMBER", "20"))
    assert court.decide().allow
    court.seat("b", draws.replace("NUMBER", "2000"))
    refused = court.decide()
    assert (refused.code, refused.nondeterministic) == ("policy_error", {})
    assert "too many values" in refused.detail


def test_a_defect_of_the_engine_is_a_refusal(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    court.seat("a", "allow := true")

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    member = court.decide().panel.members[0]
    monkeypatch.setattr(court.cache, "get", lambda digest: replace(member.bundle, decide=fail))
    court.bind("a", "guard")  # another panel
    refused = court.decide()
    assert (refused.code, refused.detail) == ("policy_error", "a: ZeroDivisionError: oops; a: ZeroDivisionError: oops")


def test_without_chance_no_seed_is_drawn(court: Court) -> None:
    court.seat("a", "allow := true")
    assert court.decide().seed is None


def test_the_fields_of_the_entry(court: Court) -> None:
    court.seat("a", "allow := true")
    fields = court.decide().fields()
    assert json.loads(str(fields["bundles_json"])) == [
        {"name": "a", "digest": court.refs["a"].digest, "commit": "c" * 40, "effect": "grant"}
    ]
    assert fields["activation"] == "act_1"
    assert fields["policy_commit"] == "c" * 40
    assert fields["now_ns"] == str(NOW_NS)
    assert fields["recomputable"] is True
    assert fields["engine"]


def test_taking_content_out() -> None:
    document = {
        "a": {"b": 1},
        "request": {"body": {"x": 1}, "path": "/"},
        "resource": {"tool": {"name": "find", "arguments": {"text": "x"}}, "prompt": {"name": "p"}},
        "n": None,
    }
    before = copy.deepcopy(document)
    assert without_content(document) == (
        b'{"a":{"b":1},"n":null,"request":{"path":"/"},"resource":{"prompt":{"name":"p"},"tool":{"name":"find"}}}'
    )
    assert document == before, "the document itself is not touched"
    assert without_content({"request": {}, "resource": {"tool": None}}) == b'{"request":{},"resource":{"tool":null}}'
