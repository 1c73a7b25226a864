"""Obligations are carried out by a real provider, and the result is judged once more by the same bundles."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.call import Call, Reference, Tool
from gateway.dataplane.obliged import obliged
from gateway.policy.authorization import Authorization
from gateway.policy.obligations import HEADERS, NOTHING
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS

if TYPE_CHECKING:
    from .conftest import Court


def read(body: dict[str, Any], provider: str = "openai", action: str = "chat.completions") -> Call:
    speaker = PROVIDERS[provider]
    route = next(route for route in speaker.routes if route.action == action)
    path = "/v1" + route.path.replace("{model}", "gpt-4o")
    params = {"model": "gpt-4o"} if "{model}" in route.path else {}
    return speaker.read(Endpoint(provider, route, path, params), RequestHead(), strict_json.dump(body) if body else b"")


def chat(**members: Any) -> Call:
    return read({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], **members})


def by(provider: str) -> Callable[..., tuple[Call, tuple[str, ...]]]:
    return functools.partial(obliged, PROVIDERS[provider])


def enforced(court: Court, asked: Call, provider: str = "openai", **options: Any) -> tuple[Authorization, Call, Any]:
    ends = options.pop("ends", time.monotonic() + 10)
    first = court.decide(asked, ends=ends, **options)
    assert first.allow, first.detail
    return court.enforce(first, asked, by(provider), ends=ends)


def functions(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "parameters": {}}} for name in names]


def oblige(court: Court, obligations: str) -> None:
    court.seat("a", f"allow := true\n\nobligations := {obligations}")


# --- what is done


def test_a_cap(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 100}')
    found, changed, edits = enforced(court, chat(max_tokens=500))
    assert (found.allow, edits) == (True, ("max_output_tokens",))
    assert changed.max_output_tokens == changed.body["max_tokens"] == 100
    assert found.input["request"]["max_output_tokens"] == 100, "the changed call is what was judged last, and is kept"
    assert found.fields()["max_output_tokens"] == 100
    assert "obligations_json" not in found.fields()


def test_what_is_met_already_changes_nothing(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 100, "strip_tools": ["b"], "model": "gpt-4o", "set_headers": {"x-team": "x"}}')
    asked = chat(max_tokens=100, tools=functions("a"))
    found, changed, edits = enforced(court, asked)
    assert (found.allow, edits) == (True, ())
    assert changed is asked
    assert json.loads(str(found.fields()["obligations_json"])) == {
        "strip_tools": ["b"],
        "model": "gpt-4o",
        "set_headers": {"x-team": "x"},
    }


def test_everything_at_once(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 9, "strip_tools": {"a"}, "model": "gpt-4o-mini"}')
    court.seat("g", 'obligations := {"strip_tools": {"b"}, "set_headers": {"x-data-class": "internal"}}', "guard")
    found, changed, edits = enforced(court, chat(tools=functions("a", "b", "c")))
    assert (found.allow, edits) == (True, ("max_output_tokens", "strip_tools", "model"))
    assert (changed.model, changed.max_output_tokens) == ("gpt-4o-mini", 9)
    assert changed.tools == (Tool("function", "c"),)
    assert found.obligations.document() == {
        "max_output_tokens": 9,
        "strip_tools": ["a", "b"],
        "model": "gpt-4o-mini",
        "set_headers": {"x-data-class": "internal"},
    }


def test_a_hosted_tool_goes_by_its_type(court: Court) -> None:
    oblige(court, '{"strip_tools": {"web_search"}}')
    hosted = {"type": "web_search", "search_context_size": "low"}
    responses = read({"model": "gpt-4o", "input": "hello", "tools": [hosted]}, action="responses")
    found, changed, _ = enforced(court, responses)
    assert (found.allow, changed.tools) == (True, ())
    searching = chat(web_search_options={})
    found, changed, _ = enforced(court, searching)
    assert (found.allow, changed.tools, "web_search_options" in changed.body) == (True, (), False)


def test_obligations_that_hold_for_the_original_only(court: Court) -> None:
    """The usual way to write a policy: what it asks for depends on what was asked."""
    court.seat(
        "a",
        """allow := true

obligations.strip_tools := {tool.name | some tool in input.request.tools; not tool.name in {"a"}}

obligations.model := "gpt-4o-mini" if input.resource.model == "gpt-4o"

obligations.set_headers["x-purpose"] := "rerouted" if input.resource.model == "gpt-4o"
""",
    )
    found, changed, edits = enforced(court, chat(tools=functions("a", "b")))
    assert (found.allow, edits, changed.model) == (True, ("strip_tools", "model"), "gpt-4o-mini"), found.detail
    # The changes are recorded, although the second judgement asked for none of them.
    assert found.obligations.document() == {
        "strip_tools": ["b"],
        "model": "gpt-4o-mini",
        "set_headers": {"x-purpose": "rerouted"},
    }


def test_a_call_without_a_body_has_nothing_to_change(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 100, "strip_tools": {"a"}, "model": "gpt-4o-mini"}')
    found, _, edits = enforced(court, read({}, action="models.list"))
    assert (found.allow, edits) == (True, ())


# --- what cannot be done


@pytest.mark.parametrize(
    ("obligations", "asked", "provider", "missed"),
    [
        pytest.param(
            '{"max_output_tokens": 3}',
            chat(n=5, max_tokens=1),
            "openai",
            "`max_output_tokens` is 3, and the request asks for 5",
            id="more answers than tokens",
        ),
        pytest.param(
            '{"strip_tools": {"late"}}',
            read(
                {
                    "model": "claude",
                    "max_tokens": 5,
                    "messages": [
                        {"role": "user", "content": [{"type": "tool_addition", "tool": {"name": "late", "input": {}}}]}
                    ],
                },
                "anthropic",
                "messages",
            ),
            "anthropic",
            "`strip_tools` names `late`, which the request still has",
            id="a tool in a message",
        ),
        pytest.param(
            '{"model": "gpt-4o-mini"}',
            read({}, action="models.retrieve"),
            "openai",
            "`model` is `gpt-4o-mini`, and the request names `gpt-4o`",
            id="a model in the path",
        ),
    ],
)
def test_nothing_is_ignored(court: Court, obligations: str, asked: Call, provider: str, missed: str) -> None:
    oblige(court, obligations)
    found, unchanged, edits = enforced(court, asked, provider)
    assert (found.allow, found.code, found.obligations) == (False, "policy_unsupported", NOTHING)
    assert found.detail == f"this cannot be enforced: {missed}"
    assert (unchanged, edits) == (asked, ())


# --- what the second judgement says


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(
            'obligations := {"max_output_tokens": input.request.max_output_tokens - 1}', id="a cap that shrinks"
        ),
        pytest.param(
            'obligations.model := "b" if input.resource.model == "gpt-4o"\n\n'
            'obligations.model := "c" if input.resource.model == "b"',
            id="a model for the other model",
        ),
        pytest.param(
            'obligations.strip_tools := {"b"} if { count(input.request.tools) < 3 } else := {"a"}',
            id="a tool that goes when the other is gone",
        ),
        pytest.param(
            'obligations.strip_tools := {"a"}\n\nobligations.model := "b" if { count(input.request.tools) < 3 }',
            id="a model when a tool is gone",
        ),
        pytest.param(
            'obligations := {"model": "b", "set_headers": {"x-purpose": input.resource.model}}',
            id="a header that names the model",
        ),
        pytest.param(
            'obligations.model := "b"\n\n'
            'obligations.set_headers["x-purpose"] := "rerouted" if input.resource.model == "b"',
            id="a header for the other model",
        ),
    ],
)
def test_obligations_must_leave_their_own_result_alone(court: Court, rules: str) -> None:
    court.seat("a", f"allow := true\n\n{rules}")
    found, _, edits = enforced(court, chat(max_tokens=100, tools=functions("a", "b", "c")))
    assert (found.allow, found.code, found.obligations) == (False, "policy_bad_decision", NOTHING)
    assert "changed already" in found.detail
    assert edits, "the log says what had been changed in the call that was judged last"


def test_a_provider_that_would_go_on_changing(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 5}')
    asked = chat()
    first = court.decide(asked)
    found, _, _ = court.enforce(first, asked, lambda call, _: (call, ("again",)))
    assert (found.allow, found.code) == (False, "policy_bad_decision")


def test_a_bundle_that_denies_what_it_caused(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 5, "model": "gpt-4o-mini"}')
    court.seat("g", 'deny contains "too small" if input.resource.model == "gpt-4o-mini"', "guard")
    found, _, _ = enforced(court, chat())
    assert (found.code, found.reasons, found.obligations) == ("policy_denied", ("too small",), NOTHING)


def test_it_is_by_the_same_revision(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 100}')
    asked = chat()
    first = court.decide(asked)
    court.cache.follow(())
    assert court.decide(asked).code == "policy_not_loaded"
    second, _, _ = court.enforce(first, asked, by("openai"))
    assert second.allow
    assert replace(second, input={}, kept_input=b"") == replace(first, input={}, kept_input=b"")


def test_it_has_the_rest_of_the_deadline(court: Court) -> None:
    oblige(court, '{"max_output_tokens": 100}')
    asked = chat()
    first = court.decide(asked)
    found, _, _ = court.enforce(first, asked, by("openai"), ends=time.monotonic() - 1)
    assert (found.code, found.detail) == ("policy_deadline", "a: no time was left")


def test_it_knows_of_foreign_state(court: Court) -> None:
    court.seat(
        "a",
        """allow := true

obligations := {"max_output_tokens": 100}

references := "allowed" if not input.request.max_output_tokens == 100""",
    )
    foreign = (Reference("file", "file-1"),)
    content = [{"type": "file", "file": {"file_id": "file-1"}}]
    found, _, _ = enforced(court, chat(messages=[{"role": "user", "content": content}]), foreign=foreign)
    assert found.code == "foreign_reference"


# --- what is recorded


def test_more_than_the_log_can_hold_is_an_error(court: Court) -> None:
    court.seat("a", "allow := true\n\nobligations.strip_tools := {tool.name | some tool in input.request.tools}")
    assert court.decide(chat(tools=functions(*(f"tool-{number}" for number in range(100))))).allow
    refused = court.decide(chat(tools=functions(*("x" * 60 + str(number) for number in range(200)))))
    assert (refused.allow, refused.code, refused.obligations) == (False, "policy_error", NOTHING)
    assert refused.detail == "the decision cannot be recorded: the obligations are too many or too long"


def test_no_client_can_send_a_header_that_a_policy_sets() -> None:
    sent = {header.decode() for each in PROVIDERS.values() for route in each.routes for header in route.request_headers}
    assert sent.isdisjoint(HEADERS)
