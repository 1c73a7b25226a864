"""What a name that means nothing was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint at the known name that looks most like another one; `otherwise` if none looks like it."""
    found = difflib.get_close_matches(name, [other for other in known if other != name], n=1, cutoff=0.7)
    return f"did you mean `{found[0]}`?" if found else otherwise
