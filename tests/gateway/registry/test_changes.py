"""Changes: each with its history, its audit entry and its rules."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sqlmodel import select

from gateway.errors import GatewayError
from gateway.identifiers import is_id
from gateway.registry import queries
from gateway.registry.agents import changes as agent_changes
from gateway.registry.database import Registry
from gateway.registry.history import as_of
from gateway.registry.keys import changes as key_changes
from gateway.registry.models import Outbox
from gateway.registry.organizations import changes as organization_changes
from gateway.registry.policies import activations, bindings
from gateway.registry.port import BundleRef
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams import changes as upstream_changes
from tests.gateway.conftest import ACTOR, ORG, Home, at_once, bundle
from tests.rigs.registry.changes import refusal


def waiting(registry: Registry) -> list[str]:
    """The entries in the outbox, oldest first."""
    with registry.read() as session:
        rows = session.exec(select(Outbox).order_by(Outbox.position))  # type: ignore[arg-type]  # a column, to mypy an int
        return [row.entry.get("what", row.kind) for row in rows]


def test_registering_and_revoking_an_agent(home: Home) -> None:
    before = time.time_ns()
    agent = home.agent(team="support", labels={"tier": "1"})
    first, second = home.key(), home.key()
    between = time.time_ns()
    revoked = agent_changes.revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert revoked is not None
    assert (revoked.version, revoked.status) == (2, "revoked")
    assert agent_changes.revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent=agent) is None
    # Every version stays, and what was true at a time can be told.
    versions = queries.agent_versions(home.registry, ORG, "bot")
    assert [(each.version, each.status, each.labels) for each in versions] == [
        (1, "active", {"tier": "1"}),
        (2, "revoked", {"tier": "1"}),
    ]
    assert as_of.agent_at(home.registry, ORG, "bot", between).agents[0].agent.status == "active"
    with refusal("not_yet"):
        as_of.agent_at(home.registry, ORG, "bot", before)
    keys = queries.keys(home.registry, ORG, "bot")
    assert [key.status(between) for key in keys] == ["active", "active"]
    assert [key.status(time.time_ns()) for key in keys] == ["revoked", "revoked"]
    assert {key.key_id for key in keys} == {first[:19], second[:19]}
    assert waiting(home.registry) == [
        "organization.created", "team.created", "agent.registered", "key.created", "key.created", "agent.revoked",
    ]  # fmt: skip


def test_a_name_belongs_to_one_living_agent(home: Home) -> None:
    old = home.agent()
    with refusal("agent_exists"):
        home.agent()
    agent_changes.revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    new = home.agent(replace_revoked=True)
    assert new != old
    assert queries.agent(home.registry, ORG, "bot").id == new
    assert queries.agent(home.registry, ORG, old).status == "revoked"
    # The dead one's bindings and keys are not inherited.
    assert queries.keys(home.registry, ORG, "bot") == []


@pytest.mark.parametrize(
    "name", ["", " bot", "a b", "-x", "x" * 64, "ключ", "a/b", "a:b", "a\n", "agt_x", "key_x", "org_1", "\x1b[31m"]
)
def test_what_is_no_name(name: str, home: Home) -> None:
    with refusal("invalid_agent"):
        home.agent(name)
    assert queries.agents(home.registry, ORG) == []


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("owner", "two\nlines", "invalid_owner"),
        ("owner", "x" * 201, "invalid_owner"),
        ("team", "team:x", "invalid_team"),
        ("environment", "a b", "invalid_environment"),
        ("capabilities", ["a b"], "invalid_capability"),
        ("capabilities", [f"c{n}" for n in range(65)], "invalid_capability"),
        ("labels", {"a b": "c"}, "invalid_label"),
        ("labels", {"a": "\x00"}, "invalid_label"),
    ],
)
def test_what_is_no_attribute(field: str, value: object, code: str, home: Home) -> None:
    with refusal(code):
        home.agent(**{field: value})


def test_two_live_keys_and_no_more(home: Home) -> None:
    home.agent()
    first = home.key()
    home.key()
    with refusal("too_many_keys"):
        home.key()
    revoked = key_changes.revoke_key(home.registry, actor=ACTOR, organization=ORG, key=first[:19])
    assert revoked is not None
    assert key_changes.revoke_key(home.registry, actor=ACTOR, organization=ORG, key=revoked.id) is None
    home.key()
    home.agent("other")
    home.key("other", lifetime_ns=1)  # expired at once: it does not count
    home.key("other")
    home.key("other")


def test_a_revoked_agent_gets_no_key(home: Home) -> None:
    home.agent()
    agent_changes.revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    with refusal("agent_revoked"):
        home.key()


def test_no_secret_is_stored(home: Home) -> None:
    home.agent()
    text = home.key()
    home.registry.close()
    stored = b"".join(path.read_bytes() for path in home.data.path.glob("registry.db*"))
    assert text[7:19].encode() in stored
    assert text[20:].encode() not in stored


def test_unknown_things(home: Home) -> None:
    home.agent()
    for code, attempt in {
        "unknown_organization": lambda: queries.agents(home.registry, "acme"),
        "unknown_agent": lambda: home.key("nobody"),
        "unknown_key": lambda: key_changes.revoke_key(home.registry, actor=ACTOR, organization=ORG, key="key_x"),
        "unknown_bundle": lambda: bind(home, "support"),
        "unknown_upstream": lambda: upstream_changes.remove_upstream(
            home.registry, actor=ACTOR, organization=ORG, name="x"
        ),
        "unknown_binding": lambda: bindings.unbind(
            home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support"
        ),
    }.items():
        with refusal(code):
            attempt()


def test_an_unknown_key_is_not_repeated_whole(home: Home) -> None:
    home.agent()
    text = home.key()
    wrong = text[:7] + "0" * 12 + text[19:]
    with pytest.raises(GatewayError) as caught:
        key_changes.revoke_key(home.registry, actor=ACTOR, organization=ORG, key=wrong)
    assert text[20:] not in caught.value.message


def test_organizations_do_not_see_each_other(home: Home) -> None:
    organization_changes.create_organization(home.registry, actor=ACTOR, name="acme")
    agent = home.agent()
    key = home.key()
    home.activate("support")
    for code, attempt in {
        "unknown_agent": lambda: agent_changes.revoke_agent(
            home.registry, actor=ACTOR, organization="acme", agent=agent
        ),
        "unknown_key": lambda: key_changes.revoke_key(home.registry, actor=ACTOR, organization="acme", key=key),
    }.items():
        with refusal(code):
            attempt()
    assert queries.agents(home.registry, "acme") == []
    assert queries.keys(home.registry, "acme") == []
    with refusal("organization_exists"):
        organization_changes.create_organization(home.registry, actor=ACTOR, name="acme")
    with refusal("invalid_organization"):
        organization_changes.create_organization(home.registry, actor=ACTOR, name="system")


def bind(home: Home, name: str, **more: object) -> str:
    given = {"kind": "agent", "subject": "bot"} | more
    return bindings.bind(home.registry, actor=ACTOR, organization=ORG, bundle=name, **given).id  # type: ignore[arg-type]  # keywords pass through


def test_binding_follows_or_is_pinned(home: Home) -> None:
    home.agent()
    home.activate("support", commit="a" * 40)
    home.activate("support", commit="b" * 40)
    first = bind(home, "support")
    with refusal("binding_exists"):
        bind(home, "support")
    with refusal("unknown_revision"):
        bind(home, "support", pinned="f" * 40)
    with refusal("unknown_revision"):
        bind(home, "support", pinned="a" * 6)
    between = time.time_ns()
    second = bind(home, "support", pinned="a" * 7)  # replaces the first
    assert is_id("bnd", second)
    now = queries.bindings(home.registry, ORG)
    assert [(each.id, each.pinned) for each in now] == [(second, "a" * 40)]
    then = as_of.agent_at(home.registry, ORG, "bot", between).agents[0].bindings
    assert [each.binding.id for each in then] == [first]
    reader = RegistryReader(home.data.registry_db)
    active = at_once(reader.active_bundles())
    reader.close()
    assert active.find("support", None) == BundleRef(
        "support", "digest-of-support-bbbb", "b" * 40, "data.support.authz"
    )
    assert active.find("support", "a" * 40) == BundleRef(
        "support", "digest-of-support-aaaa", "a" * 40, "data.support.authz"
    )
    assert active.find("support", "b" * 40) is None
    assert active.find("other", None) is None


def test_a_binding_ends(home: Home) -> None:
    home.agent(team="support")
    home.activate("support")
    for kind, subject in (("team", "support"), ("organization", ORG)):
        bind(home, "support", kind=kind, subject=subject, effect="guard")
    assert [b.subject_kind for b in queries.bindings(home.registry, ORG, "bot")] == ["team", "organization"]
    bindings.unbind(home.registry, actor=ACTOR, organization=ORG, kind="team", subject="support", bundle="support")
    assert [b.subject for b in queries.bindings(home.registry, ORG, "bot")] == [ORG]
    assert waiting(home.registry)[-1] == "binding.removed"
    with refusal("invalid_effect"):
        bind(home, "support", effect="allow")


def test_activation_switches_as_one(home: Home) -> None:
    reader = RegistryReader(home.data.registry_db)
    empty = at_once(reader.active_bundles())
    assert (empty.activation_id, empty.bundles) == ("", {})
    first = home.activate("support", "baseline", commit="a" * 40)
    active = at_once(reader.active_bundles())
    assert (active.activation_id, active.commit, sorted(active.bundles)) == (first, "a" * 40, ["baseline", "support"])
    assert active.epoch > empty.epoch
    assert home.activate("baseline", "support", commit="a" * 40) == first  # the same set: nothing changes
    assert at_once(reader.active_bundles()) == active
    home.activate(commit="b" * 40)  # a commit without bundles is a set as well
    nothing = at_once(reader.active_bundles())
    assert (nothing.commit, nothing.bundles) == ("b" * 40, {})
    found = queries.activation(home.registry)
    assert found is not None
    assert found.id == nothing.activation_id
    reader.close()


def test_a_commit_has_one_content(home: Home) -> None:
    before = home.activate("support")
    changed = replace(bundle("support"), digest="other")
    with refusal("bundle_conflict"):
        activations.activate(home.registry, actor=ACTOR, commit="c" * 40, author="dana", bundles=[changed])
    found = queries.activation(home.registry)
    assert found is not None
    assert found.id == before


def test_a_refused_commit_is_put_on_record(home: Home) -> None:
    home.activate("support")
    before = queries.activation(home.registry)
    activations.refuse_activation(
        home.registry, actor=ACTOR, commit="d" * 40, author="e" * 500, outcome="tests_failed", detail="ü" * 5000
    )
    assert queries.activation(home.registry) == before
    assert waiting(home.registry)[-1] == "activation"


def upstream(home: Home, name: str, url: str = "https://api.example.com/v1", **more: object) -> None:
    upstream_changes.add_upstream(
        home.registry, home.vault, actor=ACTOR, organization=ORG, name=name, base_url=url,
        **{"secret": "sk-x", "provider": "openai", **more},  # type: ignore[arg-type]  # keywords pass through
    )  # fmt: skip


def test_one_default_upstream(home: Home) -> None:
    upstream(home, "first")
    upstream(home, "second")
    assert [(u.name, u.default) for u in queries.upstreams(home.registry, ORG)] == [("first", True), ("second", False)]
    upstream(home, "third", default=True)
    upstream(home, "first", replace=True, secret=None)
    found = {u.name: (u.default, u.has_secret, u.version) for u in queries.upstreams(home.registry, ORG)}
    assert found == {"first": (False, False, 2), "second": (False, True, 1), "third": (True, True, 1)}
    with refusal("upstream_exists"):
        upstream(home, "first")
    upstream_changes.remove_upstream(home.registry, actor=ACTOR, organization=ORG, name="third")
    assert [u.default for u in queries.upstreams(home.registry, ORG)] == [False, False]


@pytest.mark.parametrize(
    "url", ["https://api.example.com/v1/", "http://127.0.0.1:9000/v1", "http://localhost/v1", "https://[::1]:1/v1"]
)
def test_good_urls(url: str, home: Home) -> None:
    upstream(home, "x", url)
    assert queries.upstreams(home.registry, ORG)[0].base_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "", "api.example.com", "ftp://api.example.com", "https://", "https:///v1", "https://user:pw@api.example.com/v1",
        "https://api.example.com/v1?x=1", "https://api.example.com/v1#x", "https://api.example.com/../v1",
        "https://api.example.com/%2e%2e/v1", "https://api.example.com//v1", "https://api.example.com:99999/v1",
        "https://ⓛocalhost/v1", "https://127.1/v1", "https://0x7f000001/v1", "https://api example.com",
        "https://api.example.com\\@evil.example", "https://2130706433/", "https://a..b/", "https://[::1/v1",
        "https://api.example.com/v1\r\nx: y", "https://api.example.com:0/",
    ],
)  # fmt: skip
def test_bad_urls(url: str, home: Home) -> None:
    with pytest.raises(GatewayError) as caught:
        upstream(home, "x", url)
    assert caught.value.code == "invalid_base"
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(
    ("provider", "url", "says"),
    [
        ("gemini", "https://generativelanguage.googleapis.com/v1beta/models", "leave out `/models`"),
        ("vertex", "https://aiplatform.googleapis.com/v1beta1/publishers/google", "leave out `/publishers/google`"),
        ("azure", "https://r.openai.azure.com/openai/deployments/gpt-4o", "leave out `/deployments/gpt-4o`"),
        ("azure", "https://r.openai.azure.com/openai/v1", ""),
        ("azure", "https://r.openai.azure.com", ""),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta", ""),
        ("openai", "https://proxy.example/openai/v1", ""),
    ],
)
def test_a_base_url_ends_where_clients_begin(provider: str, url: str, says: str, home: Home) -> None:
    if not says:
        upstream(home, "x", url, provider=provider)
        return
    with pytest.raises(GatewayError) as caught:
        upstream(home, "x", url, provider=provider)
    assert caught.value.code == "invalid_base"
    assert f"clients of {provider} add the rest of the path themselves" in caught.value.message
    assert says in caught.value.message


def test_a_secret_goes_in_clear_only_if_told(home: Home) -> None:
    with refusal("insecure_url"):
        upstream(home, "x", "http://10.0.0.1/v1")
    upstream(home, "x", "http://10.0.0.1/v1", insecure=True)
