"""`gateway explain`: judged again, every decision of a running data plane has the verdict that was recorded.

Random requests are sent to the real pipeline, where three bundles judge: one that most requests pass, one that draws
from clock and chance and fails in many ways, and a guard. Then the real command explains each decision.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.intents import Decided
from gateway.cli import main
from gateway.cli.audit_reexecute import judged_again
from gateway.data_directory import DataDirectory
from gateway.dataplane.refusals import Denials
from gateway.policy.reexecution import judge_again
from tests.gateway.dataplane.conftest import Gateway
from tests.rigs.dataplane.explain import bind_all, request


@pytest.mark.parametrize("count", [15, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_decision_is_explained_as_it_was_recorded(
    run: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    dice = random.Random(count)
    seen: Counter[str] = Counter()

    async def ask(gateway: Gateway) -> None:
        bind_all(gateway)
        for _ in range(count):
            reply = await gateway.send(gateway.request(request(dice)))
            assert "x-decision-id" in reply.headers, reply
            # Of so many denials at once most would only be counted.
            gateway.plane._recorder._denials = Denials()
        ids.extend(entry["id"] for entry in await gateway.entries("decided"))

    ids: list[str] = []
    run(ask)
    assert len(ids) == count
    monkeypatch.setenv("AIG_DATA", str(tmp_path / "data"))
    for decision in ids:
        code = main(["explain", decision, "--json"])
        shown = json.loads(capsys.readouterr().out)
        before = shown["decided"]["entry"]
        assert (code, shown["agrees"], shown["problem"]) == (0, True, None), shown
        again = shown["judged_again"]
        assert (again["reason"], again["reasons"]) == (before["reason"], before["reasons"])
        assert [each["bundle"] for each in shown["bundles"]] == ["bot", "chance", "guard"]
        assert all(each["rules"] for each in shown["bundles"])
        seen[before["reason"]] += 1
    wanted = {"allowed", "policy_denied", "policy_error", "policy_bad_decision"}
    # The policies draw as well, so that few calls need not have each outcome.
    assert len(wanted & seen.keys()) >= (len(wanted) if count > 100 else 2), seen


def test_the_explained_build_gives_the_same_value(run: Callable[..., None], tmp_path: Path) -> None:
    """The rules that are shown are those of an evaluation with the same result, not only the verdict is the same."""
    dice = random.Random(7)
    entries: list[dict[str, Any]] = []

    async def ask(gateway: Gateway) -> None:
        bind_all(gateway)
        for _ in range(20):
            await gateway.send(gateway.request(request(dice)))
        entries.extend(await gateway.entries("decided"))

    run(ask)
    from gateway.audit import lookup, storage

    with closing(storage.connect_read_only(tmp_path / "data" / "audit.db")) as db:
        for entry in entries:
            decision = lookup.decision(db, lookup.event(db, entry["id"]))
            again = judge_again(tmp_path / "data" / "bundles", decision.decided.entry, decision.input)
            for answer in again.answers:
                value = answer.explanation.value
                held = {rule.path.rsplit(".", 1)[1] for rule in answer.rules if rule.held}
                if answer.explanation.error is None:
                    assert {name for name, item in value.items() if item != []} <= held
                else:
                    assert answer.verdict.code == "policy_error"


def test_a_whole_log_is_judged_again(run: Callable[..., None], tmp_path: Path) -> None:
    """Every bundle is compiled once, and an entry that says something else than the policies do is found."""
    dice = random.Random(11)
    lies: list[str] = []

    class Lying:
        """A writer that records one denial as an allowed call, and the other way round."""

        def __init__(self, gateway: Gateway) -> None:
            self._real = gateway.writer

        async def write(self, intent: Any) -> Any:
            if isinstance(intent, Decided):
                lies.append(intent.event_id)
                code = "policy_denied" if intent.allow else "allowed"
                intent = replace(intent, allow=not intent.allow, reason=code, reasons=(), open=False, reservation=None)
            return await self._real.write(intent)

    async def ask(gateway: Gateway) -> None:
        bind_all(gateway)
        for _ in range(30):
            await gateway.send(gateway.request(request(dice)))
        gateway.plane._recorder._writer = Lying(gateway)  # type: ignore[assignment]
        for model in ("gpt-4o", "o3"):
            await gateway.chat(model)
        await gateway.entries()

    run(ask)
    data = tmp_path / "data"
    found = judged_again(data / "audit.db", DataDirectory(data))
    assert (found.agree, sum(found.apart.values())) == (30, 0)
    assert [event_id for event_id, _ in found.otherwise] == lies
    assert all(problem.startswith("recorded ") for _, problem in found.otherwise)
    # Without the bundles nothing can be said, and nothing is claimed.
    shutil.rmtree(data / "bundles")
    lost = judged_again(data / "audit.db", DataDirectory(data))
    assert (lost.agree, lost.otherwise, sum(lost.apart.values())) == (0, [], 32)
