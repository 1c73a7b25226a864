"""What a denial says of the call: its model only if that can be shown."""

from __future__ import annotations

import pytest

from gateway.dataplane.judgement import _asked


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("o3", "chat.completions of o3"),
        ("a\u202eb", "chat.completions"),
        ("a\nb", "chat.completions"),
        ("x" * 129, "chat.completions"),
        ("", "chat.completions"),
        (None, "chat.completions"),
    ],
)
def test_a_model_is_named_if_it_can_be_shown(model: str | None, said: str) -> None:
    assert _asked({"action": "chat.completions", "resource": {"model": model}}) == said
