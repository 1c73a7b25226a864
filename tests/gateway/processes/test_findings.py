"""States that need a person: those of a running gateway that no test can bring about at will, judged as they are."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.data_directory import DataDirectory
from gateway.dataplane.outages import Outage, Scope
from gateway.processes import findings, status
from gateway.processes.creation import create
from gateway.processes.status import Facts, Logs, LogStatus, Process
from gateway.processes.version import version
from gateway.registry.agents.needs import Agents, Some
from gateway.registry.database import Registry
from gateway.registry.inventory import Tenant
from gateway.registry.policies.bound import Bound
from gateway.settings import Settings

ADDRESSES = {"data_plane": "http://127.0.0.1:8080", "control_plane": "http://127.0.0.1:8081"}
UP = Process(running=True, since_ns=1, version=version(), workers=2, alive=["boot_a", "boot_b"], **ADDRESSES)  # type: ignore[arg-type]  # keywords pass through
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    path: Path = tmp_path_factory.mktemp("gateway") / "data"
    create(path, "bot")
    return Settings(data=DataDirectory(path))


@pytest.fixture(scope="module")
def facts(settings: Settings) -> Facts:
    found = status.look(settings)
    assert found.free_bytes is not None
    return replace(found, process=UP, logs=Logs(), free_bytes=None, inventory=replace(found.inventory, tenants=[]))


def said(facts: Facts, settings: Settings) -> list[tuple[str, str]]:
    found = findings.judge(facts, settings)
    about = [each for each in found if "no agent" not in each.message and "nobody is bound" not in each.message]
    return [(each.level, each.message) for each in about]


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (UP, []),
        (replace(UP, alive=["boot_a"]), [("problem", "1 of 2 workers are running")]),
        (
            replace(UP, alive=["boot_a"], silent=["boot_b"]),
            [("problem", "1 of 2 workers are running, and 1 more gives no sign of life")],
        ),
        (
            replace(UP, faults={"http://127.0.0.1:8080": "is not ready: policies"}),
            [("problem", "http://127.0.0.1:8080 is not ready: policies")],
        ),
        (Process(running=True, starting=True), [("remark", "the gateway is starting")]),
        (Process(running=False), [("problem", "the gateway is not running")]),
    ],
)
def test_processes(process: Process, expected: list[tuple[str, str]], facts: Facts, settings: Settings) -> None:
    assert said(replace(facts, process=process), settings) == expected


@pytest.mark.parametrize(("free", "told"), [(None, 0), (findings.LITTLE_BYTES, 0), (100 << 20, 1), (0, 1)])
def test_a_disk_that_is_nearly_full(free: int | None, told: int, facts: Facts, settings: Settings) -> None:
    found = said(replace(facts, free_bytes=free), settings)
    assert len(found) == told
    assert all("MiB left: when it is full, every request is refused" in message for _, message in found)


def test_a_gateway_of_another_version(facts: Facts, settings: Settings) -> None:
    [(level, message)] = said(replace(facts, process=replace(UP, version="0.0.1")), settings)
    assert (level, message.startswith("the running gateway is of version 0.0.1, this command of ")) == ("problem", True)


@pytest.mark.parametrize(("age", "running", "expected"), [(5, True, 0), (31, True, 1), (31, False, 0)])
def test_a_log_that_is_not_signed_in_time(
    age: int, running: bool, expected: int, facts: Facts, settings: Settings
) -> None:
    """It is signed every ten seconds while the gateway runs; of a stopped one it is enough that it is stopped."""
    logs = Logs([LogStatus("default", 12, 7, facts.now_ns - age * SECOND)])
    process = UP if running else Process(running=False)
    found = said(replace(facts, logs=logs, process=process), settings)
    assert [message for _, message in found if "signed" in message] == [
        "the newest 5 entries of the log `default` are not signed"
    ][:expected]


@pytest.mark.parametrize(("age", "expected"), [(2, 0), (11, 1)])
def test_entries_that_stay_owed(age: int, expected: int, facts: Facts, settings: Settings) -> None:
    owing = replace(facts.inventory, owed=3, owed_since_ns=facts.now_ns - age * SECOND)
    found = said(replace(facts, inventory=owing), settings)
    assert found == [("problem", "3 changes are in force, but not in the audit log yet")][:expected]


def test_every_line_says_what_to_do(facts: Facts, settings: Settings) -> None:
    every = replace(facts, process=Process(running=False), logs=Logs(problem="it is gone"))
    found = findings.judge(every, settings)
    assert len(found) >= 3
    assert all(each.todo for each in found)
    where = f" --data {settings.data.path}"
    assert found[0].todo == f"type `gateway up{where}`"


def test_a_process_that_asks_again_has_its_statements_already(settings: Settings) -> None:
    """Most of the time that a status takes goes into a registry's first statements."""
    with closing(Registry.open(settings.data)) as registry:
        known = registry._engine._compiled_cache
        assert known is not None
        before = len(known)
        first = status.look(settings, registry)
        learned = len(known)
        assert learned - before > 20
        again = status.look(settings, registry)
        assert len(known) == learned
    assert again.inventory == first.inventory
    assert again.inventory == status.look(settings).inventory


def test_an_old_or_broken_key_of_tokens(facts: Facts, settings: Settings) -> None:
    [made] = facts.token_keys
    assert said(facts, settings) == []
    old = replace(made, made_ns=facts.now_ns - 366 * 86_400 * SECOND)
    broken = replace(made, number=2, kid="", signs=False, fault="key file `token.2` is open to other users")
    assert said(replace(facts, token_keys=[broken, old]), settings) == [
        ("problem", "key file `token.2` is open to other users"),
        ("remark", "the key that signs tokens is 366 days old"),
    ]


def test_agents_that_will_be_suspended_are_told_of_before(facts: Facts, settings: Settings) -> None:
    day = 86_400 * SECOND
    now_ns = 1_800_000_000 * SECOND  # 2027-01-15T08:00:00Z
    agents = Agents(
        {"active": 4, "suspended": 1},
        warned=Some.of("soon", "warned"),
        suspends_ns=(now_ns + 3 * day, now_ns + 9 * day),
        unconfirmed=Some.of("gone"),
        overdue=Some(5, ("early", "late", "later")),
    )
    tenant = Tenant("default", "active", {}, agents, Bound(), [], [], [])
    facts = replace(facts, now_ns=now_ns, inventory=replace(facts.inventory, tenants=[tenant]))
    assert [each for each in said(facts, settings) if "review" in each[1]] == [
        (
            "problem",
            "agents will be suspended, because nobody has reviewed them: "
            "`soon` on 2027-01-18 08:00 UTC, `warned` on 2027-01-24 08:00 UTC",
        ),
        ("remark", "agent `gone` has not been reviewed in time, and cannot be resumed before"),
        ("remark", "agents `early`, `late`, `later` and 2 more have not been reviewed in time"),
    ]
    tenant = replace(tenant, agents=Agents(warned=Some.of("warned"), suspends_ns=(now_ns + 9 * day,)))
    facts = replace(facts, inventory=replace(facts.inventory, tenants=[tenant]))
    assert (
        "problem",
        "agent `warned` will be suspended on 2027-01-24 08:00 UTC, because nobody has reviewed it",
    ) in said(facts, settings)


def outage(kind: str, name: str, code: str, organization: str = "default") -> Outage:
    scope = Scope(kind, name, name, "" if kind in ("gateway", "bundle", "organization") else organization)  # type: ignore[arg-type]  # one of them
    return Outage(scope, 1, 61 * SECOND, 9, (code,))


def test_refusals_of_everything_are_told_of_once(facts: Facts, settings: Settings) -> None:
    """A finding that a wider one explains is left out; a state that may be meant is no problem; many are summed up."""

    def told(*found: Outage) -> list[tuple[str, str]]:
        lines = said(replace(facts, outages=list(found)), settings)
        return [(level, message.partition(" has been")[0]) for level, message in lines]

    agents = [outage("agent", f"bot{number}", "policy_denied") for number in range(5)]
    broken = outage("gateway", "", "audit_unavailable")
    assert told(broken, outage("organization", "acme", "audit_unavailable"), *agents) == [("problem", "every request")]
    acme = outage("organization", "acme", "policy_error")
    mine = outage("agent", "bot", "policy_error", "acme")
    assert told(acme, mine) == [("problem", "every request of organization `acme`")]
    assert told(*agents) == [
        *(("remark", f"every request of agent `bot{number}`") for number in range(3)),
        ("remark", "so are those of 2 more, by agent: policy_denied"),
    ]
