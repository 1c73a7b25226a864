"""Scopes of keys: which are possible, and which calls are inside."""

from __future__ import annotations

import fnmatch
import ipaddress
import itertools

import pytest

from gateway.errors import GatewayError
from gateway.identity.key_scope import KeyScope, parse, scope

ACTIONS = (
    "chat.completions",
    "embeddings",
    "models.list",
    "files.create",
    "chat",
    "chat.completions.x",
    "Chat.completions",
)
MODELS = (
    (),
    ("gpt-4o",),
    ("gpt-4o-mini",),
    ("gpt-5",),
    ("gpt-4o", "gpt-5"),
    ("GPT-4O",),
    ("gpt-4",),
    ("gpt-4o\x00",),
    ("*",),
)
PEERS = (
    "10.1.2.3",
    "11.0.0.1",
    "::ffff:10.1.2.3",
    "2001:db8::1",
    "fe80::1%eth0",
    "",
    None,
    "10.1.2.3 ",
    "localhost",
    "0x0a010203",
)
SCOPES = [
    *((actions, (), ()) for actions in (("chat.completions",), ("chat*",), ("models.list", "files.create"))),
    *(((), models, ()) for models in (("gpt-4o",), ("gpt-4o*",), ("gpt-4o*", "gpt-5"))),
    *(((), (), networks) for networks in (("10.0.0.0/8",), ("2001:db8::/32", "192.0.2.0/24"), ("0.0.0.0/0",))),
    (("chat.completions", "files.create"), ("gpt-4o*",), ("10.0.0.0/8",)),
]


def expected(parts: tuple[tuple[str, ...], ...], action: str, models: tuple[str, ...], peer: str | None) -> bool:
    """Tells if a call is inside, written another way: names by `fnmatch`, addresses by their numbers."""
    actions, names, networks = parts
    if networks:
        text = (peer or "").removeprefix("::ffff:")
        try:
            number, version = int(ipaddress.ip_address(text.partition("%")[0])), ipaddress.ip_address(text).version
        except ValueError:
            return False
        ranges = [ipaddress.ip_network(each) for each in networks]
        if not any(each.version == version and int(each[0]) <= number <= int(each[-1]) for each in ranges):
            return False
    if actions and not any(fnmatch.fnmatchcase(action, each) for each in actions):
        return False
    if names and not models:
        return action == "models.list" or action in actions
    return not names or all(any(fnmatch.fnmatchcase(model, each) for each in names) for model in models)


def test_a_call_is_inside_or_it_is_not() -> None:
    """Every scope with every action, set of models and address: some six thousand calls."""
    tried = inside = 0
    for parts, action, models, peer in itertools.product(SCOPES, ACTIONS, MODELS, PEERS):
        made = scope(*parts)
        assert made is not None
        reason = made.outside(action, models, peer)
        assert (reason == "") is expected(parts, action, models, peer), (parts, action, models, peer, reason)
        assert parse(made.text) == made
        tried, inside = tried + 1, inside + (reason == "")
    assert tried > 6000
    assert 1000 < inside < tried - 1000


def test_nothing_restricts_nothing() -> None:
    assert scope() is None
    assert parse(None) is None
    assert parse("null") is None


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"actions": ["chat completions"]}, "no action"),
        ({"models": ["gpt-*-mini"]}, "no model"),
        ({"models": ["**"]}, "no model"),
        ({"models": [""]}, "no model"),
        ({"models": ["gpt-4o\n"]}, "no model"),
        ({"models": ["g" * 300]}, "no model"),
        ({"networks": ["10.0.0.5/8"]}, "inside a network"),
        ({"networks": ["10.0.0.0/40"]}, "no network"),
        ({"networks": ["office"]}, "no network"),
        ({"models": [f"m{number}" for number in range(40)]}, "at most 32"),
    ],
)
def test_what_is_no_scope(parts: dict[str, list[str]], says: str) -> None:
    with pytest.raises(GatewayError, match=says) as caught:
        scope(**parts)
    assert caught.value.hint


def test_an_address_is_a_network() -> None:
    assert scope(networks=["10.1.2.3"]) == KeyScope(networks=("10.1.2.3/32",))


@pytest.mark.parametrize("text", ["[]", '{"actions": "chat"}', '{"models": [1]}', '{"tools": ["a"]}', "{"])
def test_a_text_that_is_no_scope_opens_nothing(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_a_reason_says_what_the_key_is_for_but_not_which_networks() -> None:
    made = scope(["chat.completions"], ["gpt-4o*"], ["10.0.0.0/8"])
    assert made is not None
    assert made.outside("embeddings", (), "10.1.1.1") == (
        "this key is for chat.completions only, and the request is embeddings"
    )
    assert "gpt-4o*" in made.outside("chat.completions", ("gpt-5",), "10.1.1.1")
    assert "10.0.0.0" not in made.outside("chat.completions", ("gpt-4o",), "192.0.2.1")
