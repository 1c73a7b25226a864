"""The fields of a request's line are those that observability.md promises, and hold no secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gateway.dataplane import request_log
from gateway.dataplane.request_log import Line


def test_the_documentation_has_the_fields_of_a_line() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "operate" / "observability.md").read_text("utf-8")
    table = page.partition("| field | meaning |")[2].partition("\n\n")[0]
    documented = {name for row in table.splitlines() if row for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    line = Line(0.0, None, "GET /", None, "ok", None, None, None, None, 0, "")
    assert documented == set(json.loads(request_log._Json("data").line(line)))


def test_texts_of_clients_are_short_harmless_and_without_keys() -> None:
    key = "aig_sk_0123456789AB_SecretSecretSecret"
    for text in (f"GET /v1/{key}", "gpt\x1b[2J\n{}", "x" * 1000):
        shown = request_log._short(text)
        assert len(shown) <= 160
        assert shown.isprintable()
        assert "Secret" not in shown
