"""Needs of every test run: data kept outside the repository, how skipped tests are reported, how a run is divided.

Data folders are named by environment variables and read in place, never copied. Without one, the tests that need it are
skipped, and the summary says once how many they are and what they need.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import os
import re
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from _pytest.assertion import rewrite
from hypothesis import HealthCheck, settings

# Some containers say that no bytecode is to be kept. Each of the hundreds of programs that tests start would then
# compile the whole gateway.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Upstreams of tests are mostly not there, or are real providers, which no test asks.
os.environ["AIG_NO_CHECK"] = "1"
# What asserts there has its values shown, as in a test.
pytest.register_assert_rewrite("tests.rigs")
sys.dont_write_bytecode = False

# The time that an example takes, or takes to be made, says more about the machine than about the code.
TIMELESS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples each time: what passed before a merge passes after it. Others are for those who look for them.
settings.register_profile("project", TIMELESS, derandomize=True)
settings.register_profile("thorough", TIMELESS, derandomize=False, max_examples=2000)
settings.load_profile("project")

FOLDERS = {
    "conformance_dir": ("CONFORMANCE_DIR", "OPA's conformance cases (opa-v1/*.json)"),
    "vectors_dir": ("VECTORS_DIR", "test vectors (rfc6962-proofs.json and others)"),
    "recordings_dir": ("RECORDINGS_DIR", "recorded exchanges of providers' APIs"),
}
"""Fixture → the variable that names its folder, and what the folder holds."""

ORACLES = ("oracle", "oracles")
"""The names of fixtures that start OPA itself."""


def _folder(fixture: str) -> Path:
    variable, holds = FOLDERS[fixture]
    named = os.environ.get(variable, "")
    if not named:
        pytest.skip(f"set {variable} to a folder with {holds}")
    path = Path(named)
    if not path.is_dir():
        raise pytest.UsageError(f"{variable} names {named}, which is not a folder")
    return path


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of asynchronous tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    return _folder("conformance_dir")


@pytest.fixture(scope="session")
def vectors_dir() -> Path:
    return _folder("vectors_dir")


@pytest.fixture(scope="session")
def recordings_dir() -> Path:
    return _folder("recordings_dir")


@pytest.hookimpl(trylast=True)  # after -k and -m have taken their tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep one item of a parametrised test that cannot run here: it is skipped once, for all its cases."""
    missing = {fixture for fixture, (variable, _) in FOLDERS.items() if not os.environ.get(variable)}
    if importlib.util.find_spec("opa_bindings") is None:
        missing.update(ORACLES)
    cases = Counter(_function(item) for item in items)
    kept: list[pytest.Item] = []
    seen: set[str] = set()
    for item in items:
        if not missing.isdisjoint(getattr(item, "fixturenames", ())):
            if _function(item) in seen:
                continue
            seen.add(_function(item))
            item.user_properties.append(("cases", cases[_function(item)]))
        kept.append(item)
    items[:] = kept


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Collected tests live to the end of the run: exempt them from every garbage collection, this time included."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


ALL_SLOW = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file that has none of the tests that are wanted: that is a third of the time before the first test.

    Every worker imports them, and many of the slow tests' files import a client of some provider. Files that are named
    themselves are not asked for here.
    """
    if collection_path.suffix != ".py":
        return None
    if config.option.markexpr == "not slow" and ALL_SLOW.search(collection_path.read_text("utf-8")):
        return True
    if config.option.markexpr == "slow" and not _says_slow(collection_path):
        return True
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test that is slow says so in its own file: else `-m slow` would not find it."""
    if item.get_closest_marker("slow") is not None and not _says_slow(item.path):
        raise pytest.UsageError(f"{item.nodeid} is slow, but its file does not say `mark.slow`")


@functools.cache
def _says_slow(path: Path) -> bool:
    return "mark.slow" in path.read_text("utf-8")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Each worker compiles its share of the tests. Else, on the first run, each would compile all of them."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    config = session.config
    found = {path for folder in config.args for path in Path(folder).rglob("test_*.py")}
    wanted = sorted(path.resolve() for path in found if not pytest_ignore_collect(path, config))
    for path in wanted[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        compiled = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
        if rewrite.try_makedirs(compiled.parent) and rewrite._read_pyc(path, compiled) is None:
            with contextlib.suppress(SyntaxError):  # collection says so
                source_hash, code = rewrite._rewrite_test(path, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source_hash, compiled)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run single files and tests in this process, whole folders in one per processor.

    The quick tests get one more: those that start a process wait for it, which leaves the processor to another test.
    """
    if not all(Path(argument).is_dir() for argument in config.args):
        return 0
    return (os.cpu_count() or 1) + (config.option.markexpr == "not slow")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A report that can be sent to the main process: xdist cannot send text with half a surrogate pair."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value))
    return value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each reason why tests were skipped, with how many they are."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += dict(getattr(report, "user_properties", ())).get("cases", 1)
    if reasons:
        terminalreporter.section("skipped tests")
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number:,} skipped: {reason}")
