"""The dashboard and the alert rules are whole: they parse, and use only metrics and labels that exist.

`tests/gateway/processes/test_metrics.py` compares them with the page of a running gateway, and asks promtool.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import REASONS
from gateway.telemetry.catalogue import KINDS

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
LABELS = {label for kind in KINDS.values() for label in kind.labels} | {
    *(family.label for kind in KINDS.values() for family in kind.families if family.label),
    *("duty", "version", "le", "job", "instance"),
}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text("utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))["panels"])


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    assert len(rules()) >= 10
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "action"}, rule["alert"]


def test_the_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_expressions_use_labels_that_exist() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    for expression in [*expressions, *(rule["expr"] for rule in rules())]:
        used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
        for names in re.findall(r"\bby \(([^)]*)\)", expression):
            used |= {name.strip() for name in names.split(",")}
        assert used <= LABELS, expression


def test_expressions_name_reasons_that_exist() -> None:
    named = [found for rule in rules() for found in re.findall(r'reason=~?"([^"]+)"', rule["expr"])]
    assert named
    assert {reason for found in named for reason in found.split("|")} <= REASONS.keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    unit = tmp_path / "gateway.service"
    text = (DEPLOY / "gateway.service").read_text("utf-8")
    unit.write_text(text.replace("/opt/gateway/bin/gateway", sys.executable), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
