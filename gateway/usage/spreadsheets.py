"""Texts of others as cells of a file that people open in a spreadsheet (pure)."""

from __future__ import annotations

from typing import Final

# The wide ones are what East Asian editions take for the narrow ones.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


def text_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
