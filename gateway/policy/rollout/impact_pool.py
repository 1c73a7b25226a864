"""Child processes that judge recorded decisions by a candidate's bundles (`impact.py`), page by page.

A candidate is other people's code that nobody has checked yet, so it runs in children with limits on time and memory,
and without the secrets of this process. They get entries and inputs as the log stores them, and answer with what
differs. `python -m gateway.policy.rollout.impact_pool` is a child: messages, each after its length, on standard input
and standard output.
"""

from __future__ import annotations

import base64
import os
import queue
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import orjson

from gateway.audit.search import DecidedRow
from gateway.errors import GatewayError, Hint
from gateway.policy import bundle as policy_bundle
from gateway.policy import reexecution
from gateway.policy.bundle import Files
from gateway.policy.impact import Effects, Impact
from gateway.policy.impact_rules import DecidingRules
from gateway.policy.reexecution import RecordedBundle
from gateway.policy.rollout import child

SECONDS: Final = 1800
PAGE: Final = 500
_MODULE: Final = "gateway.policy.rollout.impact_pool"
_MOST_CHILDREN: Final = 8
_LOOK_SECONDS: Final = 0.2
_LENGTH: Final = struct.Struct(">I")
_ROW: Final = struct.Struct(">qqqII")
_REASONS: Final = 5
_MAX_REASON: Final = 300


class Pool:
    """The children of one run. Use it as a context manager; one thread at a time."""

    def __init__(
        self,
        bundles: Path,
        candidate: Mapping[str, Files],
        commit: str,
        *,
        seconds: float = SECONDS,
        stop: threading.Event | None = None,
    ) -> None:
        self._order = orjson.dumps(
            {
                "bundles": str(bundles),
                "commit": commit,
                "candidate": {
                    name: {path: base64.b64encode(content).decode() for path, content in files.items()}
                    for name, files in candidate.items()
                },
            }
        )
        self._seconds = seconds
        self._children: list[_Child] = []
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._closing = ExitStack()
        self._stop = stop or threading.Event()
        self._ended = threading.Event()
        self._late = False

    def __enter__(self) -> Pool:
        """Start the children. Raises `GatewayError` (`candidate_broken`) if a bundle does not compile."""
        with ExitStack() as stack:
            count = min(len(os.sched_getaffinity(0)), _MOST_CHILDREN)
            for _ in range(count):
                self._children.append(stack.enter_context(_Child(self._order)))
            threading.Thread(target=self._watch, name="impact-watch", daemon=True).start()
            stack.callback(self._ended.set)
            self._threads = stack.enter_context(ThreadPoolExecutor(count, "impact"))
            stack.callback(self._kill)  # first: a thread may wait for a child
            for each in self._children:
                problem = self._checked(each.answer)
                if problem:
                    raise GatewayError("candidate_broken", problem, hint=Hint("see `gateway policies check`"))
                self._idle.put(each)
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def judged(self, pages: Iterable[Sequence[DecidedRow]]) -> Iterator[dict[str, Any]]:
        """What the candidate makes of each page, in order. Raises `GatewayError`."""
        waiting: deque[Future[dict[str, Any]]] = deque()
        for page in pages:
            waiting.append(self._threads.submit(self._judge, b"".join(map(_packed, page))))
            if len(waiting) > 2 * len(self._children):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _judge(self, page: bytes) -> dict[str, Any]:
        one = self._idle.get()
        try:
            one.send(page)
            found: dict[str, Any] = self._checked(one.answer)
            return found
        finally:
            self._idle.put(one)

    def _checked(self, ask: Any) -> Any:
        stopped = GatewayError("check_stopped", "judging past decisions was stopped")
        if self._stop.is_set():
            raise stopped
        try:
            return ask()
        except (OSError, EOFError, ValueError) as error:
            if self._stop.is_set():
                raise stopped from error
            why = f"took more than {self._seconds:g} s" if self._late else "ended early"
            hint = Hint("name a shorter time with --since, or try again")
            raise GatewayError("impact_failed", f"judging past decisions {why}", hint=hint) from error

    def _watch(self) -> None:
        ends = time.monotonic() + self._seconds
        while not self._ended.wait(_LOOK_SECONDS):
            self._late = time.monotonic() > ends
            if self._late or self._stop.is_set():
                self._kill()
                return

    def _kill(self) -> None:
        for each in self._children:
            each.kill()


class _Child:
    def __init__(self, order: bytes) -> None:
        self._order = order

    def __enter__(self) -> _Child:
        self._process = subprocess.Popen(  # noqa: S603  # no shell, and nothing in it comes from outside
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child.environment(),
            start_new_session=True,
        )
        with suppress(OSError):  # its first answer says so
            self.send(self._order)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        with suppress(OSError):
            self._process.__exit__(None, None, None)

    def send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        _send(self._process.stdin, message)

    def answer(self) -> Any:
        assert self._process.stdout is not None
        return orjson.loads(_received(self._process.stdout))

    def kill(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)
    stream.flush()


def _received(stream: IO[bytes]) -> bytes:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    message = stream.read(length)
    if len(message) < length:
        raise EOFError
    return message


def _packed(row: DecidedRow) -> bytes:
    kept = row.input or b""
    head = _ROW.pack(row.position, row.seq, row.time_ns, len(row.leaf), len(kept))
    return b"".join((head, row.leaf, kept))


def _unpacked(page: bytes) -> Iterator[tuple[int, int, int, Any, Any]]:
    at = 0
    while at < len(page):
        position, seq, time_ns, leaf, kept = _ROW.unpack_from(page, at)
        at += _ROW.size
        yield position, seq, time_ns, _read(page[at : at + leaf]), _read(page[at + leaf : at + leaf + kept])
        at += leaf + kept


def _read(text: bytes) -> Any:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


# The child


class _Judge:
    def __init__(self, order: Mapping[str, Any], directory: Path) -> None:
        candidate = {}
        for name, files in order["candidate"].items():
            contents = {path: base64.b64decode(text) for path, text in files.items()}
            digest = policy_bundle.publish(directory, contents)
            judge = RecordedBundle(name, digest, order["commit"], "grant")
            candidate[name] = reexecution.compiled_of(directory, judge)
        self._impact = Impact(Path(order["bundles"]), candidate, order["commit"])
        self._rules = DecidingRules()

    def page(self, page: bytes) -> dict[str, Any]:
        counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("same", "otherwise", "untold", "unasked")}
        flips = []
        for position, seq, time_ns, entry, document in _unpacked(page):
            if not isinstance(entry, dict):
                counts["untold"]["the entry cannot be read"] += 1
                continue
            effects = self._impact.on(entry, document)
            if effects.kind != "flip":
                counts[effects.kind][effects.problem] += 1
                continue
            flips.append(
                self._flip(effects, entry, document) | {"position": position, "index": seq, "time_ns": time_ns}
            )
        return {**counts, "flips": flips}

    def _flip(self, effects: Effects, entry: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
        recorded, verdict = effects.recorded, effects.verdict
        assert recorded is not None
        assert verdict is not None
        resource_ = document["resource"]
        tool = resource_.get("tool")
        return {
            "id": str(entry.get("id")),
            "organization": str(entry.get("org")),
            "agent": str(entry.get("agent") or ""),
            "agent_name": str(entry.get("agent_name") or document.get("agent", {}).get("name") or ""),
            "team": str(document.get("agent", {}).get("team") or ""),
            "action": str(document.get("action")),
            "upstream": str(resource_.get("upstream")),
            "model": str(resource_.get("model") or ""),
            "tool": str(tool.get("name") or "") if isinstance(tool, dict) else "",
            "before": effects.before,
            "after": effects.after,
            "reason": recorded.code,
            "reasons": _cut(recorded.reasons),
            "reason_after": verdict.code,
            "reasons_after": _cut(verdict.reasons),
            "rules": [str(each) for each in self._rules.of(effects, entry, document)],
        }


def _cut(reasons: Sequence[str]) -> list[str]:
    return [each[:_MAX_REASON] for each in reasons[:_REASONS]]


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (child.MEMORY, child.MEMORY))
    os.nice(5)
    given, told = sys.stdin.buffer, sys.stdout.buffer
    with tempfile.TemporaryDirectory() as directory:
        try:
            judge = _Judge(orjson.loads(_received(given)), Path(directory))
        except GatewayError as error:
            _send(told, orjson.dumps(error.message))
            return
        _send(told, orjson.dumps(""))
        with suppress(EOFError):
            while True:
                _send(told, orjson.dumps(judge.page(_received(given))))


if __name__ == "__main__":
    _main()
