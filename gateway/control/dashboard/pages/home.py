"""The first page of an organization: what needs a person, then how much was asked and what it cost."""

from __future__ import annotations

import asyncio

from gateway.control.dashboard import traffic
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Shown, ShownPage


async def home(view: View) -> Found:
    status, plots = await asyncio.gather(view.get_kept(view.get_all, "status"), traffic.plots_of(view, "hour", 24))
    return Shown("home.html", "Home", {"status": status, "plots": plots})


PAGES = [
    ShownPage("", home),
]
