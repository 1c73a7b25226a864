"""Changes while agents live: their members, suspension, teams, organizations, and what is bound to whom."""

from __future__ import annotations

import io

import pytest

from gateway.errors import Denied
from gateway.identity.api_keys import ApiKeys
from gateway.identity.principals import Principals
from gateway.registry import queries
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import ORG, Home, Run, at_once
from tests.rigs.cli.commands import logged
from tests.rigs.cli.permissions import moment


def fate(home: Home, key: str) -> str:
    """The fate of the next request with this key."""
    reader = RegistryReader(home.data.registry_db)
    try:
        principals = Principals([ApiKeys(reader, home.peppers)])
        return at_once(principals.get(home.credential(key), at_once(reader.epochs()).authority)).name
    except Denied as denied:
        return denied.code
    finally:
        reader.close()


def test_every_member_can_be_changed_and_every_version_stays(at: Run, home: Home) -> None:
    home.agent(owner="ada", team="support", capabilities=["chat", "tools"], labels={"tier": "1", "cost": "x"})
    key = home.key()
    done = at(
        *("agents", "update", "bot", "--name", "helper", "--owner", "bob", "--team", "", "--env", "prod"),
        *("--add-capability", "search", "--remove-capability", "tools", "--label", "tier=2", "--remove-label", "cost"),
    )
    assert (done.code, ", now version 2" in done.out) == (0, True)
    now = queries.agent(home.registry, ORG, "helper")
    assert (now.owner, now.team, now.environment, now.version) == ("bob", "", "prod", 2)
    assert (now.capabilities, now.labels) == (["chat", "search"], {"tier": "2"})
    first = queries.agent_versions(home.registry, ORG, "helper")[0]
    assert (first.name, first.owner, first.team) == ("bot", "ada", "support")
    assert fate(home, key) == "helper", "its key goes on, and its next request has the new members"
    assert logged(home)[-1] == (ORG, "agent.updated")
    # The same once more is no change: no version, no entry.
    before = logged(home)
    assert at("agents", "update", "helper", "--owner", "bob").out == "agent helper is like that already\n"
    assert (queries.agent(home.registry, ORG, "helper").version, logged(home)) == (2, before)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "nothing to change: see `gateway agents update --help`"),
        (["--name", "other"], "agent `other` exists already"),
        (["--team", "a b"], "team `a b` is not a name"),
        (["--label", "tier"], "label `tier` must be NAME=VALUE"),
        (["--remove-label", "teir"], "agent `bot` has no label `teir`: did you mean `tier`?"),
        (["--remove-capability", "chta"], "agent `bot` has no capability `chta`: did you mean `chat`?"),
    ],
)
def test_an_update_that_is_refused_changes_nothing(options: list[str], expected: str, at: Run, home: Home) -> None:
    home.agent(capabilities=["chat"], labels={"tier": "1"})
    home.agent("other")
    assert expected in at("agents", "update", "bot", *options).complains()
    assert queries.agent(home.registry, ORG, "bot").version == 1


def test_a_suspended_agent_is_refused_until_it_is_resumed(at: Run, home: Home) -> None:
    home.agent()
    key = home.key()
    assert at("agents", "suspend", "bot").out.startswith("suspended agent bot (agt_")
    assert fate(home, key) == "agent_suspended"
    assert at("agents", "suspend", "bot").out == "agent bot is suspended already\n"
    assert at("agents", "list", "--json").json[0]["status"] == "suspended"
    assert at("agents", "resume", "bot").code == 0
    assert fate(home, key) == "bot"
    assert at("agents", "resume", "bot").out == "agent bot is not suspended\n"
    assert [what for _, what in logged(home)][-2:] == ["agent.suspended", "agent.resumed"]


def test_only_a_valid_key_learns_of_a_suspension(at: Run, home: Home) -> None:
    home.agent()
    revoked, live = home.key(), home.key()
    at("keys", "revoke", revoked[:19])
    at("agents", "suspend", "bot")
    assert (fate(home, revoked), fate(home, live)) == ("bad_credentials", "agent_suspended")


@pytest.mark.parametrize("verb", ["suspend", "resume"])
def test_a_revoked_agent_stays_revoked(verb: str, at: Run, home: Home) -> None:
    home.agent()
    at("agents", "revoke", "bot")
    assert "agent `bot` is revoked: a revoked agent cannot come back" in at("agents", verb, "bot").complains()
    assert "agent `bot` is revoked" in at("agents", "update", "bot", "--owner", "x").complains()


def test_organizations(at: Run, home: Home) -> None:
    assert at("orgs", "create", "acme").out.startswith("created organization acme (org_")
    assert "organization `acme` exists already" in at("orgs", "create", "acme").complains()
    assert "organization `system` is reserved" in at("orgs", "create", "system").complains()
    assert at("agents", "register", "bot", "--org", "acme").code == 0
    assert [(each["name"], each["agents"]) for each in at("orgs", "list", "--json").json] == [("acme", 1), (ORG, 0)]
    assert at("orgs", "list").out.splitlines()[1].startswith("acme     1")
    assert logged(home)[1] == ("acme", "organization.created")
    assert "unknown organization `amce`: did you mean `acme`?" in at("agents", "list", "--org", "amce").complains()


def test_teams(at: Run, home: Home) -> None:
    assert "no teams yet" in at("teams", "list").err
    home.activate("support")
    for name in ("a", "b", "gone"):
        home.agent(name, team="helpers")
    at("agents", "revoke", "gone")
    at("bind", "team:helpers", "support")
    at("bind", "team:later", "support", "--create")
    assert [(each["name"], each["agents"], each["bundles"]) for each in at("teams", "list", "--json").json] == [
        ("helpers", ["a", "b"], ["support"]),
        ("later", [], ["support"]),
    ]
    assert at("teams", "list").out.splitlines()[2].split()[:3] == ["later", "nobody", "support"]


@pytest.mark.parametrize("arguments", [["team:suport"], ["org:empty"]])
def test_nothing_is_bound_to_nobody_by_mistake(arguments: list[str], at: Run, home: Home) -> None:
    home.agent(team="support")
    home.activate("baseline")
    at("orgs", "create", "empty")
    line = at("bind", *arguments, "baseline", "--effect", "guard").complains()
    assert line in (
        "no agent of organization `default` is in team `suport`: did you mean `support`?",
        "organization `empty` has no agent: add --create if its agents will come later",
    )
    assert at("bindings", "list", "--json").json == []
    assert at("bind", *arguments, "baseline", "--effect", "guard", "--create").code == 0


def test_an_organization_that_is_not_there_cannot_be_bound(at: Run, home: Home) -> None:
    home.activate("baseline")
    line = at("bind", "org:acme", "baseline", "--create").complains()
    assert "unknown organization `acme`" in line
    assert "`gateway orgs create acme`" in line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_grant_becomes_a_guard_only_on_purpose(at: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.agent()
    home.activate("support")
    at("bind", "bot", "support")

    def effects() -> list[str]:
        return [each["effect"] for each in at("bindings", "list", "--json").json]

    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # a pipe: nobody is there to be asked
    line = at("bind", "bot", "support", "--effect", "guard").complains()
    assert "is bound to agent `bot` as a grant; as a guard it can only deny and limit" in line
    assert line.endswith("add --yes if that is meant")
    assert effects() == ["grant"]
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = at("bind", "bot", "support", "--effect", "guard")
    assert (done.code, "Change it?" in done.err, "aborted" in done.err) == (1, True, True)
    assert effects() == ["grant"]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert at("bind", "bot", "support", "--effect", "guard").code == 0
    assert effects() == ["guard"]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert at("bind", "bot", "support", "--yes").code == 0
    assert effects() == ["grant"]


def test_the_list_of_bindings_says_whom_they_apply_to(at: Run, home: Home) -> None:
    home.activate("a", "b", "c")
    for name in ("one", "two", "three", "four", "five"):
        home.agent(name, team="all" if name != "five" else "")
    home.agent("gone", team="all")
    at("bind", "one", "a")
    at("bind", "gone", "a")
    at("bind", "team:all", "b")
    at("bind", "org:default", "c", "--effect", "guard")
    at("agents", "revoke", "gone")
    found = {each["bundle"]: each["agents"] for each in at("bindings", "list", "--json").json}
    assert found == {
        "a": ["one"],
        "b": ["four", "one", "three", "two"],
        "c": ["five", "four", "one", "three", "two"],
    }
    shown = at("bindings", "list").out
    assert "gone" not in shown
    assert "five, four, one, three and 1 more" in shown
    assert (
        at("bindings", "list", "gone", "--json").json == at("agents", "show", "gone", "--json").json["bindings"] == []
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["agents", "show", "suport-bot"], "unknown agent `suport-bot`: did you mean `support-bot`?"),
        (["agents", "show", "Support-Bot"], "unknown agent `Support-Bot`: did you mean `support-bot`?"),
        (["agents", "show", "zzz"], "unknown agent `zzz`: type `gateway agents list` to see the agents"),
        (["unbind", "support-bot", "custmers"], "is not bound to agent `support-bot`: did you mean `customers`?"),
        (["upstreams", "remove", "opnai"], "unknown upstream `opnai`: did you mean `openai`?"),
        (["upstreams", "add", "x", "--provider", "opnai", "--no-key", "--base-url", "http://127.0.0.1"], "`openai`?"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_right_one(
    arguments: list[str], expected: str, at: Run, home: Home
) -> None:
    home.agent("support-bot")
    home.activate("customers")
    at("bind", "support-bot", "customers")
    at("upstreams", "add", "openai", "--no-key", "--base-url", "http://127.0.0.1:1/v1")
    assert expected in at(*arguments).complains()


def test_a_list_says_whose_team_is_suspended(at: Run) -> None:
    at("agents", "register", "bot", "--team", "red")
    at("teams", "create", "empty")
    at("teams", "suspend", "empty")
    assert at("agents", "list").err == ""
    at("teams", "suspend", "red")
    assert at("agents", "list").err == "team red is suspended, so its agents are refused\n"
    assert at("agents", "list", "--json").err == ""


@pytest.mark.slow
def test_a_list_says_that_everybody_is_stopped_or_suspended(at: Run) -> None:
    at("agents", "register", "bot")
    at("orgs", "suspend", "default")
    suspended = "organization default is suspended, so its agents are refused\n"
    assert at("agents", "list").err == suspended
    at("stop", "--organization", "default", "--reason", "drill")
    stopped = "all agents of organization default are stopped, so they are refused\n"
    assert at("agents", "list").err == stopped + suspended
    at("stop", "--all", "--reason", "drill")
    assert at("agents", "list").err == "all agents are stopped, so they are refused\n" + suspended
    assert at("agents", "list", "--json").err == ""
    at("orgs", "create", "acme")
    assert at("agents", "list", "--org", "acme").err == "no agents yet: type `gateway agents register NAME`\n"
    assert at("agents", "list", "--org", "acme", "--owner", "nobody").err == "no agent is like that\n"


def test_pages_of_agents(at: Run, home: Home) -> None:
    ids = [home.agent(name) for name in ("zoe", "adam", "mia")]
    at("agents", "retire", "adam")
    again = home.agent("adam")
    first = at("agents", "list", "--limit", "2")
    assert [line.split()[0] for line in first.out.splitlines()[1:]] == ["zoe", "adam"]
    assert first.err == f"there are more: add --after {ids[1]}\n"
    rest = at("agents", "list", "--after", ids[1], "--json")
    assert ([each["id"] for each in rest.json], rest.err) == ([ids[2], again], "")
    page = at("agents", "list", "--limit", "1", "--after", "zoe", "--json")
    assert ([each["id"] for each in page.json], page.err) == ([ids[1]], f"there are more: add --after {ids[1]}\n")
    then = at("agents", "list", "--limit", "1", "--after", "zoe", "--at", moment(), "--json")
    assert [each["id"] for each in then.json] == [ids[1]]
    assert at("agents", "list", "--after", "adam").err == "no agents after that one\n"
    assert [each["id"] for each in at("agents", "list", "--json").json] == [ids[1], again, ids[2], ids[0]]
    assert at("agents", "list", "--after", "nobody").complains().startswith("unknown agent `nobody`")
    for wrong in ("0", "-1", str(2**63)):
        assert "--limit" in at("agents", "list", "--limit", wrong).complains(2)


@pytest.mark.slow
def test_an_organization_is_shown_and_changed(at: Run) -> None:
    assert at("orgs", "update", "default").complains().startswith("nothing to change")
    done = at("orgs", "update", "default", "--review-days", "90", "--reason", "policy of the house")
    assert done.out.endswith(", now version 2\n")
    assert at("orgs", "update", "default", "--review-days", "90").out == "organization default is like that already\n"
    at("stop", "--all", "--reason", "drill")
    shown = at("orgs", "show", "default").out
    for text in ("every 90 days", "policy of the house", "all agents, since ", ": drill"):
        assert text in shown
    found = at("orgs", "show", "default", "--json").json
    assert (found["organization"]["review_days"], found["versions"][-1]["reason"]) == (90, "policy of the house")
    assert len(found["stops"]) == 1
    assert at("orgs", "update", "default", "--review-days", "0", "--json").json["organization"]["review_days"] is None
    assert "1 to" in at("orgs", "update", "default", "--review-days", "-3").complains()
    idle = at("orgs", "update", "default", "--suspend-after", "14d")
    assert (idle.code, idle.err) == (
        0,
        "warning: no agent is suspended unless it has a review date of its own: say how often owners must confirm "
        "them: `gateway orgs update default --review-days 90`\n",
    )
    shown = at("orgs", "show", "default").out
    assert "suspended 14 days after the review was due, which only agents with a review date of their own have" in shown
    assert not at("orgs", "update", "default", "--review-days", "90").err
    assert "suspended 14 days after the review was due\n" in at("orgs", "show", "default").out
    assert "warning" in at("orgs", "update", "default", "--review-days", "0").err
    assert at("orgs", "update", "default", "--suspend-after", "14d").out.endswith("is like that already\n")
    for wrong in ("14", "12h", "0d", "never"):
        complaint = at("orgs", "update", "default", "--suspend-after", wrong).complains()
        assert complaint == f"`{wrong}` is no number of days: write 14d, or off for never"
    assert "1 to 366 days" in at("orgs", "update", "default", "--suspend-after", "367d").complains()
    assert at("orgs", "update", "default", "--suspend-after", "off").code == 0
    assert at("orgs", "show", "default", "--json").json["organization"]["suspend_after_days"] is None
    moved = at("orgs", "update", "default", "--zone", "Asia/Kolkata")
    assert "windows of limits that have begun end as before" in moved.err
    assert "Asia/Kolkata" in at("orgs", "show", "default").out
    assert "did you mean `Europe/Zurich`?" in at("orgs", "update", "default", "--zone", "Europe/Zurch").complains()
    assert (
        at("orgs", "update", "default", "--zone", "Asia/Kolkata").out == "organization default is like that already\n"
    )
    at("limits", "set", "org:default", "tokens_per_day", "1000", "--create")
    [day] = at("limits", "show", "org:default", "--json").json
    assert day["resets_at"].endswith("T18:30:00.000Z")  # nobody has made a call in the day of UTC
    versions = at("orgs", "show", "default", "--json").json["versions"]
    assert [each["zone"] for each in versions][-2:] == ["UTC", "Asia/Kolkata"]
    assert at("orgs", "show", "defualt").complains() == "unknown organization `defualt`: did you mean `default`?"
    at("orgs", "revoke", "default", "--yes")
    assert "is revoked" in at("orgs", "update", "default", "--review-days", "9").complains()
