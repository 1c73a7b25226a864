"""The most pages that a PDF can have, without reading it: by the references of its tree of pages (ISO 32000-2, 7.7.3).

Each page is named by one reference in a `/Kids` array. This bounds the pages only if all of the file can be seen and
the tree is one: there are no compressed objects, nothing is encrypted, and nothing is referred to twice. Of any other
file it is not known (`UNKNOWN`), and the maker's own maximum counts.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

UNKNOWN: Final = 2**31

_HIDING: Final = re.compile(rb"/ObjStm|/Encrypt|/XRef|/[A-Za-z]{0,16}#")
_KIDS: Final = re.compile(rb"/Kids\s*(\[[\s\dR]{0,1000000}\])?")
_REFERENCE: Final = re.compile(rb"(\d{1,10})\s+\d{1,10}\s+R")
_PAGE: Final = re.compile(rb"/Page(?![A-Za-z])")  # some readers look for these if the tree is broken
_LONGEST: Final = 48 * 1024 * 1024


def most_pages(text: str) -> int:
    """The most pages of a PDF in base64."""
    if len(text) > _LONGEST:
        return UNKNOWN
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return UNKNOWN
    if not data.startswith(b"%PDF-") or _HIDING.search(data):
        return UNKNOWN
    found: list[bytes] = []
    for kids in _KIDS.finditer(data):
        if kids[1] is None:
            return UNKNOWN  # it stands elsewhere
        references = _REFERENCE.findall(kids[1])
        if len(references) != kids[1].count(b"R"):
            return UNKNOWN
        found += references
    named = {int(each) for each in found}
    return max(len(named), len(_PAGE.findall(data))) if 0 < len(found) == len(named) else UNKNOWN
