"""Nonces: each is used once, whichever worker asks, and forgotten some time after its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.errors import Denied, GatewayError
from gateway.runtime.nonces import KEEP_SECONDS, UsedNonces
from gateway.runtime.store import RuntimeStore


@contextmanager
def opened(path: Path) -> Iterator[UsedNonces]:
    with closing(RuntimeStore(path)) as store:
        yield UsedNonces(store)


def test_two_workers_share_what_was_used(tmp_path: Path) -> None:
    path = tmp_path / "runtime.db"

    async def use(nonces: UsedNonces, nonce: str, key: str = "key_1") -> bool:
        return await nonces.use(key, nonce, 1000)

    async def test() -> None:
        with opened(path) as one, opened(path) as two:
            asked = await asyncio.gather(*(use(each, str(number)) for number in range(40) for each in (one, two, one)))
            assert sum(asked) == 40
            assert not await use(two, "0")
            assert await use(two, "0", key="key_2")
        with opened(path) as later:  # after a restart
            assert not await use(later, "0")

    asyncio.run(test())
    assert path.stat().st_mode & 0o777 == 0o600


async def test_nonces_are_forgotten_after_their_end(tmp_path: Path) -> None:
    with opened(tmp_path / "runtime.db") as nonces:
        for number in range(2500):
            assert await nonces.use("key_1", str(number), 1000 + number)
        assert nonces.forget_old(1000 + KEEP_SECONDS + 2000) == 2000
        assert await nonces.use("key_1", "1999", 1)
        assert not await nonces.use("key_1", "2000", 1)


def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "runtime.db"
        with opened(path) as nonces:
            assert await nonces.use("key_1", "a", 1000)
            path.unlink()
            with pytest.raises(Denied) as caught:
                await nonces.use("key_1", "a", 1000)
            assert caught.value.code == "registry_unavailable"

    asyncio.run(test())
    (tmp_path / "directory").mkdir()
    with pytest.raises(GatewayError):
        RuntimeStore(tmp_path / "directory").open()
