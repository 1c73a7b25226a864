"""The benchmark of decisions measures right answers, survives engines that die, and draws what it found."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.policy import chart, report
from benchmarks.policy.engines import ByHand, Ours, Unable, canonical
from benchmarks.policy.run import LATE, Gone, Outcome, Process, Row, Timing, of_kind, run, series
from benchmarks.policy.workload import Kind, Measure
from benchmarks.policy.workloads import BY_NAME, WORKLOADS

LARGE = 2_000
"""A growing workload is built up to this size here: the rest is the same with another number."""


@pytest.mark.parametrize("work", [work for work in WORKLOADS if work.size <= LARGE], ids=lambda work: work.name)
def test_every_workload_is_answered_rightly(work, tmp_path: Path) -> None:
    module, data, value = work.module(), work.data(), work.input()
    engine = Ours()
    if work.measure is Measure.RESTORE:
        ask = engine.keep(work, module, data, tmp_path)()
    elif work.measure is Measure.REPLACE:
        ask = engine.replacing(work, module, {})(data)
    else:
        ask = engine.prepare(work, module, data)
    assert engine.text(ask(value)) == canonical(work.want)
    if work.by_hand is not None:
        assert canonical(ByHand().prepare(work, module, data)(value)) == canonical(work.want)


def test_there_are_enough_of_each_kind() -> None:
    assert len(WORKLOADS) >= 25
    assert all(of_kind([Row(work) for work in WORKLOADS], kind) for kind in Kind)


def test_curves_grow() -> None:
    for name, rows in series([Row(work) for work in WORKLOADS]):
        sizes = [row.work.size for row in rows]
        assert sizes == sorted(set(sizes)), name
        assert len(sizes) >= 3, name


@pytest.mark.slow
def test_a_run_measures_and_compares() -> None:
    outcome = run([BY_NAME["one comparison"]], Timing(rounds=2, seconds=0.01), lambda row: None)
    (row,) = outcome.rows
    assert row.figures[Ours.name] > 0
    assert row.figures[ByHand.name] > 0
    assert row.ratio(ByHand.name) == pytest.approx(row.figures[Ours.name] / row.figures[ByHand.name])
    assert "one comparison" in report.line(row)
    assert f"| one comparison | {report.figure(row.figures[Ours.name])} µs |" in report.page(outcome)


def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    process = Process(Ours.name, tmp_path)
    try:
        assert process.ask(do="prepare", workload="one comparison")["answer"] == "true"
        assert process._child is not None
        process._child.kill()
        with pytest.raises(Gone, match="crashed"):
            process.ask(do="measure", seconds=0.01, wall=False)
        assert process.ask(do="prepare", workload="one comparison")["answer"] == "true"
    finally:
        process.close()


def test_a_slower_peer_is_ahead_of_nobody() -> None:
    row = Row(BY_NAME["one comparison"], {"ours": 2.0, "OPA": 20.0, "regorus": 1.0, "RVM": 3.0, "by hand": 0.5})
    assert report.behind(row) == ["regorus"]
    assert report.of_regorus(row) == 0.5
    assert row.ratio(ByHand.name) == 4
    assert "! 0.5" in report.line(row)
    late = Row(BY_NAME["10,000 rules"], {"ours": 2.0}, {"OPA": LATE})
    assert "late" in report.line(late)
    found = Outcome({}, {}, [row, late])
    assert f"OPA {LATE}: 10,000 rules" in report.reasons(found)
    assert "not faster than regorus: one comparison" in report.summary(found)


def test_a_chart_is_a_picture_with_all_that_was_measured() -> None:
    rows = dict(series([Row(work) for work in WORKLOADS]))["rules"]
    for number, row in enumerate(rows):
        row.figures |= {"ours": 0.25, "OPA": 10.0 ** (number + 1)}
    picture = ElementTree.fromstring(chart.draw("Rules & more", "rules", rows))
    space = "{http://www.w3.org/2000/svg}"
    lines = picture.findall(f"{space}polyline")
    points = [[tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()] for line in lines]
    assert [len(each) for each in points] == [len(rows)] * 2
    ours, opa = points
    assert len({y for _, y in ours}) == 1, "a cost that does not grow is a level line"
    assert [y for _, y in opa] == sorted((y for _, y in opa), reverse=True), "a cost that grows goes up"
    assert all(0 <= x <= chart.WIDTH and 0 <= y <= chart.HEIGHT for each in points for x, y in each)
    texts = [text.text for text in picture.findall(f"{space}text")]
    assert {"ours", "OPA", "Rules & more", "rules"} <= set(texts)


def test_a_peer_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.policy import engines

    monkeypatch.setattr(engines.importlib.metadata, "distributions", list)
    with pytest.raises(Unable, match="pip install gordon-to-regorus"):
        engines.Regorus()


def test_the_regorus_that_answers_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.policy import engines

    class Distribution:
        metadata = {"Name": "celine-regorus"}  # noqa: RUF012  as importlib has it

    monkeypatch.setattr(engines.importlib.metadata, "distributions", lambda: [Distribution()])
    with pytest.raises(Unable, match="uninstall celine-regorus"):
        engines.RegorusMachine()
