"""Identifiers: their form, their order, their uniqueness."""

from __future__ import annotations

import os
import threading
import time
import uuid

import pytest

from gateway import identifiers
from gateway.identifiers import PREFIXES, is_id, new_id, random_bytes, uuid7


def test_the_text_is_a_uuid_of_version_7() -> None:
    before = time.time_ns() // 1_000_000
    found = uuid.UUID(uuid7())
    after = time.time_ns() // 1_000_000
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert before <= found.int >> 80 <= after


def test_ids_of_one_process_are_distinct_and_in_order() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_order_survives_a_clock_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr(identifiers.time, "time_ns", lambda: now)
    made = [uuid7() for _ in range(5000)]
    monkeypatch.setattr(identifiers.time, "time_ns", lambda: now - 10**9)
    made += [uuid7() for _ in range(100)]
    assert made == sorted(set(made))


def test_threads_share_one_order() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(uuid7() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in made)
    assert len(set().union(*made)) == 8000


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_id_says_what_it_names(prefix: str) -> None:
    made = new_id(prefix)
    assert made.startswith(prefix)
    assert is_id(prefix, made)
    assert is_id(prefix.rstrip("_"), made)
    assert not any(is_id(other, made) for other in PREFIXES if other != prefix)


def test_other_spellings_are_no_ids() -> None:
    made = new_id("agt")
    for wrong in ("", "agt_", made.upper(), made + "0", made[:-1], made.replace("-", ""), " " + made, made + "\n"):
        assert not is_id("agt", wrong), wrong


def test_a_prefix_must_be_known() -> None:
    with pytest.raises(ValueError, match="unknown id prefix"):
        new_id("xyz")


def test_random_bytes_are_drawn_in_bulk_and_given_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draws: list[bytes] = []
    draw = os.urandom

    def urandom(size: int) -> bytes:
        draws.append(draw(size))
        return draws[-1]

    monkeypatch.setattr(identifiers.os, "urandom", urandom)
    random_bytes(4096)
    taken = [random_bytes(32) for _ in range(1000)]
    assert len(set(taken)) == 1000
    assert all(any(each in drawn for drawn in draws) for each in taken)
    for _ in range(1000):
        uuid7()
    assert len(draws) < 15


def test_a_fork_does_not_give_out_what_its_parent_has_in_store() -> None:
    random_bytes(8)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, random_bytes(32))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 32) != random_bytes(32)
    os.close(reader)
    os.close(writer)
