"""The code of webhooks.md verifies what the gateway signs, and nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.webhooks import signature

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "operate" / "webhooks.md"
BODY = b'{"type":"webhook.test"}'


@pytest.fixture(scope="module")
def is_genuine() -> Any:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["is_genuine"]


def test_the_code_of_the_page_takes_a_delivery(is_genuine: Any) -> None:
    secret = signature.new_secret()
    assert is_genuine(secret, signature.headers(secret, "evt_1", int(time.time()), BODY), BODY)


def test_the_code_of_the_page_takes_nothing_else(is_genuine: Any) -> None:
    secret, now = signature.new_secret(), int(time.time())
    headers = signature.headers(secret, "evt_1", now, BODY)
    assert not is_genuine(signature.new_secret(), headers, BODY)
    assert not is_genuine(secret, headers, BODY + b" ")
    assert not is_genuine(secret, headers | {"webhook-id": "evt_2"}, BODY)
    assert not is_genuine(secret, signature.headers(secret, "evt_1", now - 400, BODY), BODY)
