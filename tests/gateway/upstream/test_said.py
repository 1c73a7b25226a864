"""Nothing reaches a provider that the policies' input does not say, but what the page of policies lists as not judged.

The members are those that the makers' own clients document, in the versions that are installed, with a mark as value.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import policy_engine as pe
from gateway.call import Call
from gateway.errors import Denied
from gateway.policy.input import build_input
from gateway.upstream.providers.base import Edits, RequestHead
from gateway.upstream.providers.gemini.spelling import camel
from gateway.upstream.providers.presets import PROVIDERS
from tests.rigs.upstream.said import CONTENTS, PAGE, PLAIN, USER, documented, not_judged, read

MARK = "mark-4711"


class _Nobody:
    """As much of a principal as an input document needs."""

    document: typing.ClassVar[dict[str, Any]] = {}
    person = None


def said(call: Call) -> str:
    """The facts that policies are told of a call, without the body that few of them can read."""
    return json.dumps(build_input(_Nobody(), call, 0))  # type: ignore[arg-type]


def _values() -> Iterator[Any]:
    yield MARK
    yield [MARK]
    yield {"probe": MARK}
    yield [{"probe": MARK}]
    yield {"type": MARK}


@pytest.mark.parametrize("where", PLAIN, ids=".".join)
def test_each_documented_member_is_judged_or_refused_or_listed(where: tuple[str, str]) -> None:
    unsaid = set()
    assert read(*where, PLAIN[where]).action == where[1]  # else all of it would be refused, and nothing be tried
    for name in sorted(documented()):
        for value in _values():
            try:
                call = read(*where, PLAIN[where] | {name: value})
            except Denied:
                continue
            # Azure's deployment takes the place of another model in the body before policies are asked.
            call, _ = PROVIDERS[where[0]].edit(call, Edits())
            if (
                MARK.encode() in call.raw
                and MARK not in said(call)
                and not str(call.settings.get(name)).startswith("sha256:")
            ):
                unsaid.add(name)
    assert unsaid <= not_judged()


OURS, THEIRS = "https://tools.acme.example/mcp", "https://elsewhere.example/mcp"
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "advising"}
LISTED = {"tools": [{"name": "t", "input_schema": {"properties": {"model": {"type": "string"}}}}]}


def added(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "tool_addition", "tool": each} for each in changes]


def messages(*blocks: dict[str, Any], **given: Any) -> dict[str, Any]:
    return PLAIN["anthropic", "messages"] | {"messages": [USER, {"role": "user", "content": list(blocks)}], **given}


def defined(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_definition", "definition": tool}


def places(where: str) -> list[tuple[str, str, dict[str, Any], list[str], bool]]:
    """Tools in every place that a provider documents; what policies see, and whether all are our own server's."""
    chat, responses, gemini = PLAIN["openai", "chat.completions"], PLAIN["openai", "responses"], {"contents": CONTENTS}
    mcp = {"type": "mcp", "server_label": "w", "server_url": where}
    own = where == OURS
    server = {"name": "w", "url": where}
    listing = {"type": "mcp_list_tools", "id": "i", "server_label": "w", **LISTED}
    tool = f"mcp_tool t {where}"
    of_server = {"type": "mcp_toolset_reference", "server_name": "w"}
    both = [f"mcp_toolset w {where}", f"mcp w {where}"]
    google = {"name": "w", "streamableHttpTransport": {"url": where, "headers": {"authorization": "x"}}}
    toolset = {"type": "mcp_toolset", "mcp_server_name": "w"}
    block = {"type": "mcp_tool_listing", "mcp_server_name": "w", **LISTED}
    summary = {
        "type": "compaction",
        "content": "s",
        "tool_changes": added(defined(toolset), {"type": "tool_reference", "name": "f"}),
    }
    return [
        ("openai", "chat.completions", chat | {"tools": [mcp]}, [f"mcp w {where}"], own),
        ("openai", "responses", responses | {"tools": [mcp], "input": [listing]}, [f"mcp w {where}", tool], own),
        ("openai", "responses", responses | {"input": [listing]}, ["mcp_tool t "], False),
        ("openai", "responses", responses | {"tools": [{"type": "web_search"}]}, ["web_search  "], False),
        ("anthropic", "messages", messages(mcp_servers=[server], tools=[toolset]), both, own),
        (
            "anthropic",
            "messages",
            messages(block, mcp_servers=[server], tools=[toolset | LISTED]),
            [f"mcp_toolset w {where}", tool, tool, f"mcp w {where}"],
            own,
        ),
        ("anthropic", "messages", messages(*added(defined(toolset)), mcp_servers=[server]), both, own),
        ("anthropic", "messages", messages(summary, mcp_servers=[server]), both, own),
        (
            "anthropic",
            "messages",
            messages(*added({"type": "mcp_tool_reference", "server_name": "w", "name": "t"}), mcp_servers=[server]),
            both,
            own,
        ),
        ("anthropic", "messages", messages(*added(of_server)), ["mcp_toolset w "], False),
        ("anthropic", "messages", messages(*added(defined({"name": "f", "input_schema": {}}))), ["function f "], True),
        ("anthropic", "messages", messages(*added(defined(ADVISOR))), ["advisor_20260301  "], False),
        ("gemini", "generate_content", gemini | {"tools": [{"mcpServers": [google]}]}, [f"mcp w {where}"], own),
        (
            "gemini",
            "generate_content.count_tokens",
            {"generateContentRequest": gemini | {"model": "models/m", "tools": {"mcp_servers": google}}},
            [f"mcp w {where}"],
            own,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("where", [OURS, THEIRS])
def test_tools_are_told_in_every_place_and_the_page_s_example_judges_them(where: str) -> None:
    example = PAGE.split('deny contains "tools come from our own server only"', 1)[1].split("```", 1)[0]
    rule = f'package authz\n\ndeny contains "tools come from our own server only"{example}'
    denied = pe.compile({"authz.rego": rule}).entrypoint("data.authz.deny")
    for provider, action, body, tools, own in places(where):
        call = read(provider, action, body)
        assert [f"{each.type} {each.name} {each.server}" for each in call.tools] == tools, body
        assert bool(denied(build_input(_Nobody(), call, 0))) is not own, body  # type: ignore[arg-type]


def test_the_models_that_messages_bring_are_judged() -> None:
    for body in (
        messages(*added(defined(ADVISOR))),
        messages({"type": "compaction", "content": "s", "tool_changes": added(defined(ADVISOR))}),
        messages({"type": "compaction", "content": "s", "model": "advising"}),
        messages(
            {"type": "document", "source": {"type": "content", "content": [{"type": "summary", "model": "advising"}]}}
        ),
    ):
        assert read("anthropic", "messages", body).models == ("m", "advising")
    item = {"type": "compaction", "encrypted_content": "x", "model": "advising"}
    assert read("openai", "responses", PLAIN["openai", "responses"] | {"input": [item]}).models == ("m", "advising")
    echo = {"type": "fallback", "from": {"model": "m"}, "to": {"model": "n"}}
    assert read("anthropic", "messages", messages(echo)).models == ("m",)


@pytest.mark.parametrize(
    "body",
    [
        messages({"type": "tool_addition", "tool": "f"}),
        messages({"type": "tool_addition"}),
        messages(*added({"type": "tool_definition"})),
        messages(*added({"type": "tool_definition", "definition": {"name": "f"}, "name": "g"})),
        messages(*added({"type": "tool_reference", "name": "f", "definition": {"name": "g"}})),
        messages({"type": "compaction", "toolChanges": []}),
        messages({"type": "compaction", "tool_changes": {"type": "tool_addition"}}),
        messages(tools=[{"type": "tool_definition", "definition": {"name": "f"}}]),
        messages(tools=[{"type": "mcp_toolset", "mcp_server_name": "w", "tools": [{"name": ""}]}]),
        messages(mcp_servers=[{"name": "w", "url": OURS}, {"name": "w", "url": THEIRS}]),
    ],
)
def test_a_tool_that_could_be_read_in_two_ways_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Denied):
        read("anthropic", "messages", body)


@pytest.mark.parametrize(
    "server",
    [
        {"name": "w"},
        {"name": "w", "streamableHttpTransport": {}},
        {"name": "w", "streamableHttpTransport": {"url": OURS}, "sseTransport": {"url": THEIRS}},
        {"name": "w", "streamableHttpTransport": {"url": OURS}, "url": THEIRS},
        {"name": "w", "streamableHttpTransport": {"url": OURS, "URL": THEIRS}},
    ],
)
def test_a_server_of_gemini_s_has_one_place(server: dict[str, Any]) -> None:
    with pytest.raises(Denied):
        read("gemini", "generate_content", {"contents": CONTENTS, "tools": [{"mcpServers": [server]}]})


def test_tools_of_every_place_are_stripped_or_stay_visible() -> None:
    """The second judgement sees the tools that stay, and denies the call."""
    for provider, action, body, tools, _ in places(OURS):
        call = read(provider, action, body)
        names = frozenset(tool.name or tool.type for tool in call.tools)
        changed, _ = PROVIDERS[provider].edit(call, Edits(strip_tools=names))
        again = read(provider, action, json.loads(changed.raw))  # type: ignore[arg-type]
        assert (again.tools, again.settings) == (changed.tools, changed.settings)
        assert {tool.name or tool.type for tool in again.tools} <= names
        assert changed.tools or json.dumps(OURS) not in json.dumps(changed.body), tools


_LEAVES = st.sampled_from([MARK, "two words " + MARK, 4711, True, None, 0.5])
_GIVEN = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", MARK]), inner, max_size=3),
)


@pytest.mark.parametrize("where", PLAIN, ids=".".join)
@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{2,12}", fullmatch=True), _GIVEN, max_size=3))
@settings(max_examples=10, deadline=None)
def test_members_that_nobody_knows_are_told(where: tuple[str, str], members: dict[str, Any]) -> None:
    try:
        call = read(*where, PLAIN[where] | members)
    except Denied:
        return
    for name, value in members.items():
        if value is not None and name not in not_judged():
            told = call.settings[camel(name) if call.provider == "gemini" else name]
            assert told == value or str(told).startswith(("sha256:", "0.5", "[", "{"))
            assert "two words" not in json.dumps(told)
            assert MARK not in str(value) or MARK in str(told) or "sha256:" in str(told)


def test_settings_have_bounds() -> None:
    for members in (
        {"safetyIdentifier": "x"},
        {"Store": True},
        {"dataCollection": "deny"},
        {"metadata": {f"m{number}": "x" * 200 for number in range(78)}, "trace": {"id": "x" * 200}},
        {"user": "aig_sk_" + "0" * 62},
        {f"m{number}": "w" * 100 for number in range(200)},
    ):
        with pytest.raises(Denied):
            read("openai", "chat.completions", PLAIN["openai", "chat.completions"] | members)
    for value in ("two words", "dana@acme.example", "x" * 257, ["w" * 100] * 50, {"schema": "x" * 5000}):
        found = read("openai", "chat.completions", PLAIN["openai", "chat.completions"] | {"vendor": value}).settings
        assert found["vendor"].startswith("sha256:")


def test_the_query_and_a_profile_are_settings() -> None:
    head = RequestHead({"beta": "true"}, {"anthropic-user-profile-id": "uprof_1"})
    call = read("anthropic", "messages", PLAIN["anthropic", "messages"], head)
    assert call.settings == {"beta": "true", "anthropic-user-profile-id": "uprof_1"}
    assert PROVIDERS["anthropic"].edit(call, Edits(max_output_tokens=1))[0].settings == call.settings
    for name in ("beta", "anthropic-user-profile-id"):
        with pytest.raises(Denied):
            read("anthropic", "messages", PLAIN["anthropic", "messages"] | {name: "another"}, head)
