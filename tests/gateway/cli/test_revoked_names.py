"""A revoked agent's name comes back only if somebody says so, whichever way it is written anew; the entry tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import GatewayError
from gateway.registry import adoptions, queries
from gateway.registry.agents.changes import retire_agent, revoke_agent
from gateway.registry.keys.changes import revoke_key
from tests.gateway.conftest import ACTOR, ORG, Home, Run

NAME = "spiffe://example.org/bot"
WHO: dict[str, Any] = {"actor": ACTOR, "organization": ORG}


def _entries(at: Run, what: str) -> list[dict[str, Any]]:
    lines = at("audit", "list", "--json", "--limit", "1000").out.splitlines()
    return [each for line in lines if (each := orjson.loads(line)["entry"]).get("what") == what]


def _living(home: Home) -> list[str]:
    return [each.id for each in queries.living_agents(home.registry, ORG) if each.name == "bot"]


def test_a_name_typed_again_does_not_bring_a_revoked_agent_back(at: Run, home: Home) -> None:
    revoked = home.agent()
    other = home.agent("other")
    revoke_agent(home.registry, **WHO, agent="bot")
    told = f"agent `bot` was revoked ({revoked}), and another one must not get its name unnoticed"
    for command in (("agents", "register", "bot"), ("agents", "update", "other", "--name", "bot")):
        assert told in at(*command).complains(), command
    assert not _living(home)
    assert at("agents", "register", "bot", "--replace-revoked").code == 0
    assert _living(home)
    (registered,) = [each for each in _entries(at, "agent.registered") if "replaced" in each]
    assert (registered["replaced"], registered["replaced_status"]) == (revoked, "revoked")
    # The last one of the same name counts: it was retired, so its name is free, and the entry still says so.
    retire_agent(home.registry, **WHO, agent="bot")
    assert at("agents", "update", other, "--name", "bot").code == 0
    (renamed,) = _entries(at, "agent.updated")
    assert renamed["replaced_status"] == "retired"


@pytest.mark.parametrize("table", [False, True], ids=["yaml", "csv"])
def test_a_file_applied_every_night_does_not_bring_a_revoked_agent_back(
    at: Run, home: Home, tmp_path: Path, table: bool
) -> None:
    file = tmp_path / ("fleet.csv" if table else "fleet.yaml")

    def write(replaces: str = "") -> None:
        if table:
            file.write_text(f"name,owner,replaces\nbot,dana,{replaces}\n")
        else:
            file.write_text(
                "v: 1\nagents:\n- {name: bot, owner: dana" + (f", replaces: {replaces}" * bool(replaces)) + "}\n"
            )

    write()
    assert at("apply", "-f", str(file)).code == 0
    (first,) = _living(home)
    revoke_agent(home.registry, **WHO, agent="bot")
    keys = tmp_path / "keys.csv"
    for more in (("--dry-run",), ("--keys", str(keys)), ("--prune", "--yes")):
        refused = at("apply", "-f", str(file), *more).complains()
        assert f"{file}:{2 if table else 3}: agent bot: agent `bot` was revoked ({first})" in refused
        assert f"replaces: {first}" in refused
    assert not keys.exists()
    write(replaces=first)
    done = at("apply", "-f", str(file))
    assert done.out.startswith(f"+ agent bot  (a new one: {first} of this name was revoked on ")
    assert at("apply", "-f", str(file)).out == ""
    # The member names one agent, so the next revocation holds against a file that still has it.
    (second,) = _living(home)
    revoke_agent(home.registry, **WHO, agent="bot")
    assert f"was revoked ({second})" in at("apply", "-f", str(file)).complains()
    assert at("apply", "-f", str(file), "--replace-revoked").code == 0
    assert [each.get("replaced") for each in _entries(at, "agent.registered")] in (
        [None, first, second],
        [second, first, None],
    )


def test_a_file_does_not_bring_a_revoked_spiffe_id_back(at: Run, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(f"v: 1\nagents:\n- {{name: bot}}\nspiffe_ids:\n- {{agent: bot, spiffe_id: '{NAME}'}}\n")
    assert at("apply", "-f", str(file)).code == 0
    (given,) = queries.keys(home.registry, ORG)
    revoke_key(home.registry, **WHO, key=NAME)
    assert f"it was revoked ({given.id})" in at("apply", "-f", str(file)).complains()
    file.write_text(file.read_text().replace(f"'{NAME}'", f"'{NAME}', replaces: {given.id}"))
    assert at("apply", "-f", str(file)).code == 0
    assert at("apply", "-f", str(file)).out == ""
    revoke_key(home.registry, **WHO, key=NAME)
    assert "it was revoked" in at("apply", "-f", str(file)).complains()
    assert at("apply", "-f", str(file), "--replace-revoked").code == 0


def test_an_adoption_does_not_bring_its_revoked_agent_back(home: Home) -> None:
    legacy = home.agent("legacy")
    revoke_agent(home.registry, **WHO, agent="legacy")
    with pytest.raises(GatewayError) as caught:
        adoptions._register(home.registry, ACTOR, ORG, "dana", False, "")
    assert (caught.value.code, caught.value.subject) == ("name_revoked", legacy)
    adoptions._register(home.registry, ACTOR, ORG, "dana", True, "")
