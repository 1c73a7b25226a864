"""Lower case for comparisons that let somebody in: of ASCII letters only.

`str.lower` maps letters of other scripts to ASCII ones (the Kelvin sign becomes a `k`), so somebody else's address or
domain would be equal to the one that a rule names.
"""

from __future__ import annotations

import string
from typing import Final

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def ascii_lower(text: str) -> str:
    return text.translate(_LOWER)
