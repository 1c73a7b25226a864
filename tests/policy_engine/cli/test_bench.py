"""`policy bench`: the measurements and the output. No test here asks for a speed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from policy_engine.cli import bench as bench_module
from policy_engine.cli import measuring
from policy_engine.cli.app import run
from policy_engine.cli.measuring import Sample, duration, sample

POLICY = 'package authz\n\ndefault allow := false\n\nallow if input.role == "admin"\n\nnames := set()\n'


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("authz.rego").write_text(POLICY, "utf-8")
    Path("input.json").write_text('{"role": "admin"}', "utf-8")


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> object:
    """Runs `policy bench` with the policy and the input; gives exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(("bench", "-d", "authz.rego", "-i", "input.json", *arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def test_each_run_has_a_line(bench) -> None:
    code, out, err = bench("data.authz.allow", "-n", "1000", "--count", "3")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "data.authz.allow"
    assert lines[1].startswith("  loaded in ")
    assert "compiled in" in lines[1]
    assert lines[3].split() == ["decisions", "per", "second", "mean", "min", "p50", "p90", "p99", "p99.9", "max"]
    assert [line.split()[0] for line in lines[4:]] == ["1,000"] * 3
    assert len({len(line) for line in lines[3:]}) == 1, "the columns are aligned"


@pytest.mark.parametrize("query", ["data.authz.allow", "x := data.authz.allow", "data.authz.allow; input.role"])
def test_any_query_is_measured(bench, query: str) -> None:
    code, out, _ = bench("--format", "json", "-n", "50", query)
    assert code == 0
    found = json.loads(out)
    assert (found["query"], found["defined"]) == (query, True)
    assert min(found["load_ns"], found["compile_ns"], found["first_ns"]) > 0
    (measured,) = found["runs"]
    assert measured["decisions"] == 50
    points = [measured["min_ns"], *measured["percentiles_ns"].values(), measured["max_ns"]]
    assert list(measured["percentiles_ns"]) == ["50", "90", "99", "99.9"]
    assert points == sorted(points)
    assert measured["min_ns"] <= measured["mean_ns"] <= measured["max_ns"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A clock that stands still but for calls of the fixture, which take so many nanoseconds."""
    now = 0

    def pass_time(nanoseconds: int) -> None:
        nonlocal now
        now += nanoseconds

    stopped = SimpleNamespace(perf_counter_ns=lambda: now, perf_counter=lambda: now / 1e9)
    monkeypatch.setattr(measuring, "time", stopped)
    return pass_time


def test_a_run_lasts_for_the_given_time(bench, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    decide = bench_module.sample
    monkeypatch.setattr(
        bench_module, "sample", lambda call, *limits: decide(lambda: (call(), clock(2_000_000)), *limits)
    )
    code, out, _ = bench("data.authz.allow", "--duration", "200ms", "--format", "json")
    assert code == 0
    assert json.loads(out)["runs"][0]["decisions"] == 100


def test_what_is_undefined_is_no_measurement(bench) -> None:
    for query in ("data.authz.nothing", "input.nothing"):
        code, out, err = bench("-n", "10", query)
        assert (code, err) == (1, "the query is undefined\n")
        assert "p99" in out
        assert bench("-n", "10", "--no-fail", query)[0] == 0


def test_an_empty_document_is_a_defined_one(bench) -> None:
    assert bench("-n", "10", "data.authz.names")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["x :="], "rego_parse_error"),
        (["data.authz.allow", "-d", "gone"], "no such file or directory: `gone`"),
        (["data.authz.allow", "-n", "0"], "invalid value for '--iterations'"),
        (["data.authz.allow", "--duration", "soon"], "`soon` is not a duration"),
        (["data.authz.allow", "--stdin-input"], "exclude each other"),
        (["to_number(input.role) == 1", "--strict-builtin-errors"], "eval_builtin_error"),
    ],
)
def test_what_cannot_be_measured_ends_with_2(bench, arguments: list[str], text: str) -> None:
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert text in err


def test_a_sample_counts_calls_and_durations(clock) -> None:
    found = sample(lambda: clock(2_000_000), 0.0, 3)
    assert found.calls == 3
    assert (found.shortest, found.longest) == (2_000_000, 2_000_000)
    assert found.per_second == 500


def test_percentiles_are_durations_that_occurred() -> None:
    found = Sample(Counter({10: 98, 20: 1, 5_000: 1}))
    assert list(found.percentiles((50.0, 98.0, 98.5, 99.0, 99.9))) == [
        (50.0, 10),
        (98.0, 10),
        (98.5, 20),
        (99.0, 20),
        (99.9, 5_000),
    ]
    assert (found.mean, found.shortest, found.longest) == (60, 10, 5_000)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (740, "740 ns"),
        (999.6, "1.00 µs"),
        (9_990, "9.99 µs"),
        (9_996, "10.0 µs"),
        (12_340, "12.3 µs"),
        (99_960, "100 µs"),
        (999_400, "999 µs"),
        (1_200_000_000, "1.20 s"),
        (90_000_000_000, "90.0 s"),
        (5_000_000_000_000, "5000 s"),
    ],
)
def test_durations_have_three_digits(nanoseconds: float, text: str) -> None:
    assert duration(nanoseconds) == text
