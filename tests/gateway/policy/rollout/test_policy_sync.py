"""From a commit to policies in force: with a real repository, a real check, and a real registry."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import GatewayError
from gateway.policy.cache import PolicyCache
from gateway.policy.rollout import check as policy_check
from gateway.policy.rollout import sync as policy_sync
from gateway.policy.rollout.source import GitSource
from gateway.policy.rollout.sync import PolicySync
from gateway.registry import queries
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.policies.bindings import bind, unbind
from gateway.runtime.handover import Handover
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import Home
from tests.rigs.policy.rollout.policy_sync import ACTOR, BUNDLE, begun, entries, epoch_of, home, repository, sync  # noqa: F401  # fixtures among them

if TYPE_CHECKING:
    from .conftest import Repository

DENYING = "package b.authz\n\nallow := false\n"
DENYING_TEST = "package b.authz_test\n\nimport data.b.authz\n\ntest_denied if not authz.allow\n"


@pytest.fixture
def worker(home: Home) -> Iterator[Handover]:
    """A worker's side of the hand-over; it has joined."""
    with closing(RuntimeStore(home.data.runtime_db)) as store:
        made = Handover(store)
        made.join("boot_1")
        yield made


def in_force(home: Home) -> str | None:
    active = queries.activation(home.registry)
    return active.commit if active else None


def test_a_new_commit(home: Home, repository: Repository, sync: PolicySync) -> None:
    before, epoch = queries.activation(home.registry), epoch_of(home)
    second = repository.commit({"b/authz.rego": DENYING, "b/authz_test.rego": DENYING_TEST})
    assert sync.step().outcome == "activated"
    after = queries.activation(home.registry)
    assert after is not None
    assert before is not None
    assert after.commit == second
    assert after.bundles["b"].author == "Dana Example <dana@acme.example>"
    assert after.bundles["b"].digest != before.bundles["b"].digest
    assert epoch_of(home) > epoch
    assert (home.data.bundles / before.bundles["b"].digest).is_dir(), "old revisions stay loadable"


def test_a_commit_that_changes_no_decision(home: Home, repository: Repository, sync: PolicySync) -> None:
    """The commit is a new one and is named in the log, but the content, and so its digest, is the same."""
    before = queries.activation(home.registry)
    commit = repository.commit({"b/README.md": "# The bundle b\n"})
    assert sync.step().outcome == "activated"
    after = queries.activation(home.registry)
    assert before is not None
    assert after is not None
    assert after.commit == commit != before.commit
    assert after.bundles["b"].digest == before.bundles["b"].digest


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"b/authz.rego": "package b.authz\n\nallow := \n"}, "compile_failed"),
        ({"b/authz.rego": DENYING}, "tests_failed"),
        ({"b/.manifest": "{}"}, "bad_manifest"),
        pytest.param({"b/.manifest": None}, "policies_layout", marks=pytest.mark.slow),
        pytest.param({"b/.manifest": None, "b/authz.rego": None}, "no_bundles", marks=pytest.mark.slow),
        ({"c/.manifest": '{"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b"}}}'}, "roots_overlap"),
        pytest.param({"b/inner/.manifest": "{}"}, "policies_layout", marks=pytest.mark.slow),
        ({"my bundle/.manifest": '{"roots": ["c"], "metadata": {"gateway": {"entrypoint": "data.c"}}}'}, "bad_name"),
        pytest.param({"b/data.json": '{"b": {"authz": {"allow": true}}}'}, "compile_failed", marks=pytest.mark.slow),
    ],
)
def test_a_commit_that_is_refused(
    home: Home, repository: Repository, sync: PolicySync, change: dict[str, str | None], outcome: str
) -> None:
    epoch, published = epoch_of(home), sorted(home.data.bundles.iterdir())
    bad = repository.commit(change)
    found = sync.step()
    assert (found.commit, found.outcome, found.refused) == (bad, outcome, True)
    assert in_force(home) == repository.first
    assert epoch_of(home) == epoch, "no request need look again"
    assert sorted(home.data.bundles.iterdir()) == published
    refusal = entries(home)[-1]
    assert (refusal["activation"], refusal["outcome"], refusal["fields"]["commit"]) == ("", outcome, bad)
    assert refusal["fields"]["detail"]


def test_a_refusal_is_recorded_once_and_cured_by_the_next_commit(
    home: Home, repository: Repository, sync: PolicySync, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"b/authz.rego": DENYING})
    sync.step()
    with monkeypatch.context() as patch:
        patch.setattr(policy_check, "check", lambda *_, **__: pytest.fail("it was looked at already"))
        assert sync.step().outcome == "tests_failed"
    assert len(entries(home)) == 2
    good = repository.commit({"b/authz_test.rego": DENYING_TEST})
    assert sync.step().outcome == "activated"
    assert in_force(home) == good


def test_going_back(home: Home, repository: Repository, sync: PolicySync) -> None:
    repository.commit({"b/authz.rego": DENYING, "b/authz_test.rego": DENYING_TEST})
    sync.step()
    sync.source = GitSource(repository.path, ref=repository.first)
    assert sync.step().outcome == "activated"
    assert in_force(home) == repository.first


@pytest.mark.parametrize("cure", ["revoke", "unbind"])
def test_a_bundle_that_somebody_is_bound_to(home: Home, repository: Repository, sync: PolicySync, cure: str) -> None:
    home.agent("bot")
    bind(home.registry, actor=ACTOR, organization="default", kind="agent", subject="bot", bundle="b")
    without_b(repository)
    found = sync.step()
    assert found.outcome == "bundle_missing"
    assert str(found.problems[0]).startswith("bundle b: `bot` is bound to it")
    assert "`gateway unbind bot b`" in str(found.problems[0])
    assert in_force(home) == repository.first
    assert sync.step() == found
    assert [entry["outcome"] for entry in entries(home)] == ["ok", "bundle_missing"], "looked at again, recorded once"
    # An agent that is gone needs nothing any more, nor does one that is unbound; the same process notices.
    if cure == "revoke":
        revoke_agent(home.registry, actor=ACTOR, organization="default", agent="bot")
    else:
        unbind(home.registry, actor=ACTOR, organization="default", kind="agent", subject="bot", bundle="b")
    assert sync.step().outcome == "activated"


def test_a_binding_that_is_made_while_a_commit_is_checked(
    home: Home, repository: Repository, sync: PolicySync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all requests of the agent would be refused: its bundle is in force no more."""
    home.agent("bot")
    without_b(repository)
    check = policy_check.check

    def bind_meanwhile(*arguments: Any, **more: Any) -> list[policy_check.CommitProblem]:
        found = check(*arguments, **more)
        bind(home.registry, actor=ACTOR, organization="default", kind="agent", subject="bot", bundle="b")
        return found

    monkeypatch.setattr(policy_check, "check", bind_meanwhile)
    outcome = sync.step()
    assert (outcome.outcome, outcome.problems[0].bundle) == ("bundle_missing", "b")
    assert in_force(home) == repository.first


@pytest.mark.parametrize("outcome", ["check_failed", "check_timeout"])
def test_a_check_that_this_machine_could_not_do_is_repeated(
    home: Home, repository: Repository, sync: PolicySync, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """It was kept as if the commit were bad, until the next commit or restart."""
    second = repository.commit({"b/authz.rego": DENYING, "b/authz_test.rego": DENYING_TEST})
    clock = [1000.0]
    tries: list[float] = []

    def fail(*_: object, **__: object) -> list[policy_check.CommitProblem]:
        tries.append(clock[0])
        return [policy_check.CommitProblem(outcome, "", "it is too busy")]

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with monkeypatch.context() as patch:
        patch.setattr(policy_check, "check", fail)
        for _ in range(40):
            assert sync.step().outcome == outcome
            clock[0] += 1.0
    assert tries == [1000.0, 1001.0, 1003.0, 1007.0, 1015.0, 1031.0], (
        "a check may take a minute of computing: not at every look"
    )
    assert [entry["outcome"] for entry in entries(home)] == ["ok", outcome], "tried again, but recorded once"
    clock[0] += policy_sync.LONGEST_PAUSE
    assert sync.step().outcome == "activated"
    assert in_force(home) == second


def without_b(repository: Repository) -> str:
    """Commit a bundle `c` in place of `b`."""
    more = {path.replace("b/", "c/"): text.replace("b.authz", "c.authz") for path, text in BUNDLE.items()}
    more["c/.manifest"] = more["c/.manifest"].replace('["b"]', '["c"]')
    return repository.commit({**dict.fromkeys(BUNDLE), **more})


def test_a_repository_that_cannot_be_read(home: Home, repository: Repository, sync: PolicySync) -> None:
    repository.path.rename(repository.path.with_name("away"))
    with pytest.raises(GatewayError) as error:
        sync.step()
    assert error.value.code == "policies_missing"
    assert in_force(home) == repository.first
    assert len(entries(home)) == 1


def test_a_revision_that_was_damaged_is_published_again(home: Home, repository: Repository, sync: PolicySync) -> None:
    active = queries.activation(home.registry)
    assert active is not None
    shutil.rmtree(home.data.bundles / active.bundles["b"].digest)
    repository.commit({"b/README.md": "# The bundle b\n"})
    assert sync.step().outcome == "activated"
    PolicyCache(home.data.bundles).load(active.bundles["b"].digest)


def test_workers_load_it_before_it_is_in_force(
    home: Home, repository: Repository, sync: PolicySync, worker: Handover
) -> None:
    sync.live = {"boot_1"}
    second = repository.commit({"b/authz.rego": DENYING, "b/authz_test.rego": DENYING_TEST})
    seen: list[str | None] = []
    done = threading.Event()

    def work() -> None:
        """A worker that needs a moment, and looks around before it answers."""
        while not (announced := worker.announced()) and not done.wait(0.01):
            pass
        done.wait(0.2)
        seen.append(in_force(home))
        worker.answer("boot_1", dict.fromkeys(announced, ""))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert sync.step().outcome == "activated"
    finally:
        done.set()
        thread.join(120)
    assert seen == [repository.first], "nothing was in force before the worker had it"
    assert in_force(home) == second
    assert worker.announced() == set(), "nobody is asked for it any more"


def test_a_worker_that_cannot_load_it(
    home: Home, repository: Repository, sync: PolicySync, worker: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_sync, "LOAD_SECONDS", 0.0)
    sync.step()
    sync.live = {"boot_1"}
    second = repository.commit({"b/authz.rego": DENYING, "b/authz_test.rego": DENYING_TEST})
    for _ in range(2):
        found = sync.step()
        # Looking again every two seconds must not cost a compilation and all tests each time.
        monkeypatch.setattr(policy_check, "check", lambda *_, **__: pytest.fail("it was checked already"))
        assert (found.commit, found.outcome, found.refused) == (second, "not_loaded", True)
        assert in_force(home) == repository.first
    assert [entry["outcome"] for entry in entries(home)] == ["ok", "not_loaded"], "tried again, but told once"
    worker.leave("boot_1")
    assert sync.step().outcome == "activated"


@pytest.mark.slow
def test_more_bundles_than_the_log_can_name(home: Home, repository: Repository, sync: PolicySync) -> None:
    names = [f"bundle{number}" for number in range(300)]
    more = {f"{name}/{path[2:]}": text.replace("b.authz", f"{name}.authz").replace('["b"]', f'["{name}"]')
            for name in names for path, text in BUNDLE.items() if "_test" not in path}  # fmt: skip
    many = repository.commit(more)
    for _ in range(2):
        assert sync.step().outcome == "not_recordable"
    assert [entry["fields"]["commit"] for entry in entries(home)] == [repository.first, many]
    assert in_force(home) == repository.first


def test_a_check_that_is_stopped_decides_nothing(home: Home, repository: Repository, sync: PolicySync) -> None:
    repository.commit({"b/authz.rego": DENYING, "b/authz_test.rego": DENYING_TEST})
    sync.stop()
    with pytest.raises(GatewayError, match="check_stopped"):
        sync.step()
    assert len(entries(home)) == 1
    again = PolicySync(home.registry, home.data, sync.source, actor=ACTOR)
    assert again.step().outcome == "activated"
