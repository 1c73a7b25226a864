"""The version of Rego that a source text is written in: v1, unless a bundle's manifest says that it is v2."""

from __future__ import annotations

from typing import Final

V2_KEYWORDS: Final = ("and", "not", "or")
"""Everything that Rego v2 adds to v1 (OPA issue 9224). In v1 each needs `import future.keywords.x` or `rego.v2`."""


class RegoV2(str):
    """A source text in Rego v2: all of it is read as if it stood behind `import rego.v2`.

    The version travels with the text because every tool hands texts on by name, under names of its own.
    """

    __slots__ = ()
