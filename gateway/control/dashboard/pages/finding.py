"""One field for whatever a person has in hand: an id, an agent's name, or the whole message of a refused call."""

from __future__ import annotations

import re
from typing import Final

from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Redirect, ShownPage

_ID: Final = re.compile(r"\b([a-z]{2,8})_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_PAGES: Final = {"agt": "agents", "apr": "approvals"}
"""Prefix → the section that has a page for each such thing. All other ids are looked up in the log."""


async def find(view: View) -> Found:
    text = view.query.get("what", "").strip()
    if ids := {found[0]: found[1] for found in _ID.finditer(text)}:
        # A message about a call that waits for a person names its decision, too.
        chosen = next((each for each in ids if ids[each] in _PAGES), next(iter(ids)))
        return Redirect(view.link(_PAGES.get(ids[chosen], "decisions"), chosen))
    return Redirect(view.link("agents", search=text))


PAGES = [
    ShownPage("find", find),
]
