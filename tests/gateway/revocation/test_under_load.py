"""Two workers under load while authority is taken away: nothing is admitted afterwards, and every stream ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import orjson
import pytest

from tests.gateway.revocation.rig import KINDS, STREAMS, Rig, Stream, run
from tests.gateway.revocation.upstream import Upstream

pytestmark = pytest.mark.slow

TIMES = 2
ASKED = 16  # over two workers: that one of them gets none has the odds of 1 to 2**15


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    upstream = Upstream()
    made = Rig(tmp_path_factory.mktemp("revocation"), upstream)
    yield made
    try:
        made.stop()  # which signs the last entries
        made.check_log()
    finally:
        made.close()
        upstream.close()


def test_nothing_is_admitted_and_every_stream_ends(rig: Rig) -> None:
    findings, calls = asyncio.run(run(rig, TIMES, seed=1))
    assert findings.wrong == []
    assert findings.admitted == {}
    assert findings.restricted == dict.fromkeys(KINDS, TIMES)
    assert all(findings.refused[kind] > 0 for kind in KINDS)
    assert {kind: len(seconds) for kind, seconds in findings.cut.items()} == dict.fromkeys(KINDS, TIMES * STREAMS)
    assert calls > 0
    rig.wait(lambda: rig.upstream.running == 0)
    rig.wait(lambda: rig.rows("SELECT count(*) FROM open_decision") == [(0,)])


def test_a_worker_that_was_stopped_meanwhile_admits_nothing(rig: Rig) -> None:
    """It has believed in the key before, streams for it, and hears of the revocation only when it goes on."""

    subject = rig.subject("agent")

    async def test() -> tuple[list[tuple[float, int, bytes]], list[Stream]]:
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(rig.stream(subject.key, begun)) for _ in range(ASKED)]
        for _ in streams:
            await begun.acquire()
        assert {status for _, status, _ in [await rig.call(subject.key) for _ in range(ASKED)]} == {200}
        stopped = rig.children()[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            subject.restrict()
            asked = [asyncio.create_task(rig.call(subject.key)) for _ in range(ASKED)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)  # by the other worker
        finally:
            os.kill(stopped, signal.SIGCONT)
        return await asyncio.gather(*asked), await asyncio.gather(*streams)

    asked, streams = asyncio.run(test())
    assert {status for _, status, _ in asked} == {401}
    assert {orjson.loads(body)["error"]["code"] for *_, body in asked} == {"bad_credentials"}
    assert all(b'"code":"bad_credentials"' in each.last for each in streams)
    assert asyncio.run(rig.outcomes(streams)) == ["revoked"] * ASKED
    rig.wait(lambda: rig.rows("SELECT count(*) FROM open_decision") == [(0,)])
