"""The first page of an organization: what needs a person, then how much was asked and what it cost."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.control.dashboard import traffic
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Shown, ShownPage
from gateway.control.problems import Problem


async def home(view: View) -> Found:
    status, plots = await asyncio.gather(_status(view), traffic.plots_of(view, "hour", 24))
    return Shown("home.html", "Home", {"status": status, "plots": plots})


async def _status(view: View) -> Any:
    """The gateway's state; None while it is looked at for the first time, which takes long in a very large one."""
    try:
        return await view.get_all("status", kept=True)
    except Problem as problem:
        if problem.code != "overloaded":
            raise
        return None


PAGES = [
    ShownPage("", home),
]
