"""Checks the bundles of a commit before they are put into force: they compile, decide, and pass their own tests.

Bundles are other people's code, so they run in a child process with limits on time and memory, never on an event loop
or in a process that serves (docs/architecture.md, section 11). `check` starts the child and reads its report; `python
-m gateway.policy.rollout.check` is the child: bundles on standard input, problems on standard output, both JSON. A
child that dies or takes too long is a problem too.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations, product
from pathlib import Path

import gateway
import policy_engine as pe
from gateway.errors import GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.policy.bundle import Files
from gateway.policy.cache import CompiledBundle, compile_bundle
from gateway.policy.decision import read
from gateway.registry import names
from policy_engine.bundle import from_files
from policy_engine.errors import EVAL_CANCEL_ERROR
from policy_engine.syntax.parser import parse_module
from policy_engine.testing import runner
from policy_engine.testing.results import Outcome

SECONDS = 60.0
_MEMORY = 2 * 1024 * 1024 * 1024
_POLL_SECONDS = 0.1  # how often the parent looks at the clock and at the order to stop
_MAX_LISTED = 10  # failed tests named in one problem
_PROBE = pe.Limits(1.0)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a commit is not put into force: an outcome code for the log, the bundle, and what to correct."""

    outcome: str
    bundle: str
    detail: str

    def __str__(self) -> str:
        return f"bundle {self.bundle}: {self.detail}" if self.bundle else self.detail


def check(bundles: Mapping[str, Files], seconds: float = SECONDS, stop: threading.Event | None = None) -> list[Problem]:
    """Everything that is wrong with these bundles; an empty list if they may be put into force. Blocks.

    Raises `GatewayError` (`check_stopped`) soon after `stop` is set, and nothing else.
    """
    content = {
        name: {path: base64.b64encode(data).decode() for path, data in files.items()} for name, files in bundles.items()
    }
    command = [sys.executable, "-P", "-m", "gateway.policy.rollout.check", str(int(seconds) + 1)]
    try:
        with tempfile.TemporaryFile() as stream:  # not a pipe, which this process would have to go on filling
            stream.write(json.dumps(content).encode())
            stream.seek(0)
            child = subprocess.Popen(  # noqa: S603  # no shell, and nothing in it comes from outside
                command, stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
            )
    except OSError as error:
        return [Problem("check_failed", "", f"the check could not be started: {error.strerror}")]
    output = _await(child, seconds, stop or threading.Event())
    if output is None:
        return [Problem("check_timeout", "", f"compiling and testing took more than {seconds:g} s")]
    stdout, stderr = output
    try:
        return [Problem(**each) for each in json.loads(stdout)]
    except (ValueError, TypeError):
        last = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        return [Problem("check_failed", "", f"the check ended with exit code {child.returncode}: {last}")]


def _await(child: subprocess.Popen[bytes], seconds: float, stop: threading.Event) -> tuple[bytes, bytes] | None:
    """The child's standard output and error; None if it took too long. It has ended when this returns or raises."""
    ends = time.monotonic() + seconds
    with child:
        while not stop.is_set() and time.monotonic() < ends:
            with suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=_POLL_SECONDS)
        child.kill()
    if stop.is_set():
        raise GatewayError("check_stopped", "the check of a new commit was stopped")
    return None


def problems_of(bundles: Mapping[str, Files]) -> Iterator[Problem]:
    """What `check` reports, but found in this process."""
    roots: dict[str, tuple[str, ...]] = {}
    for name, files in bundles.items():
        try:
            names.check_name("bundle", name)
        except GatewayError as error:
            yield Problem("bad_name", name, f"{error.message}: {error.hint}")
            continue
        try:
            roots[name] = policy_bundle.manifest(files[policy_bundle.MANIFEST], name).roots
        except GatewayError as error:
            yield Problem(error.code, name, error.message)
    for (one, its), (other, others) in combinations(roots.items(), 2):
        for root, rival in product(its, others):
            if policy_bundle.overlap(root, rival):
                yield Problem("roots_overlap", one, f"its root `{root}` overlaps `{rival}` of bundle {other}")
    for name in roots:
        try:
            yield from _problems(name, bundles[name], roots[name])
        except pe.PolicyError as error:
            yield Problem("compile_failed", name, str(error))


def _problems(name: str, files: Files, roots: tuple[str, ...]) -> Iterator[Problem]:
    # 1. No bundle may define anything that belongs to another one.
    everything = from_files(files.items(), tests=True)
    for file, source in everything.modules.items():
        path = "/".join(parse_module(source, file).package.path)
        if not any(f"{path}/".startswith(f"{root}/") for root in roots):
            yield Problem("roots_overlap", name, f"{file}: package {path.replace('/', '.')} is in none of the roots")
            return
    # 2. Exactly what would be published compiles, and its answer to an empty input is a decision.
    bundle = compile_bundle(files, "", name)
    if problem := _probe(bundle, name):
        yield problem
        return
    # 3. Its tests pass, evaluated as strictly as requests are.
    results = list(runner.run(runner.prepare(everything.modules, everything.data), strict=True))
    bad = [each for each in results if each.outcome in (Outcome.FAILED, Outcome.ERROR)]
    if bad:
        listed = [f"{each.test.location}: {each.test.name}" for each in bad[:_MAX_LISTED]]
        more = f" and {len(bad) - _MAX_LISTED} more" if len(bad) > _MAX_LISTED else ""
        late = all(each.error is not None and each.error.code == EVAL_CANCEL_ERROR for each in bad)
        outcome, verb = ("check_timeout", "take too long") if late else ("tests_failed", "fail")
        yield Problem(outcome, name, f"{len(bad)} of {len(results)} tests {verb}: {', '.join(listed)}{more}")


def _probe(bundle: CompiledBundle, name: str) -> Problem | None:
    """Decide an empty input: that finds a member that no decision has, or a missing package, before any request."""
    try:
        value = bundle.decide({}, now_ns=0, seed=0, limits=_PROBE).value
    except pe.PolicyError:
        return None  # it may need an input; a request that it fails on is denied by itself
    if value is pe.UNDEFINED:
        return Problem("bad_entrypoint", name, f"there is no package {bundle.entrypoint}")
    verdict = read(value, "guard")
    if verdict.code in ("policy_bad_decision", "policy_unsupported"):
        return Problem(verdict.code.removeprefix("policy_"), name, f"{bundle.entrypoint}: {verdict.detail}")
    return None


def _environment() -> dict[str, str]:
    """The child's environment: enough to find this package, and no secrets of this process."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR") if name in os.environ}
    source = str(Path(gateway.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return kept | {"PYTHONPATH": f"{source}{os.pathsep}{inherited}" if inherited else source}


def _main(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    content = json.loads(sys.stdin.buffer.read())
    bundles = {name: {path: base64.b64decode(text) for path, text in files.items()} for name, files in content.items()}
    found = [asdict(each) for each in problems_of(bundles)]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
