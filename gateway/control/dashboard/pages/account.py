"""The way to the first page, and logging out."""

from __future__ import annotations

from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Redirect, ShownPage


async def begin(view: View) -> Found:
    """To the home page of the person's organization."""
    return Redirect(view.link())


async def log_out(view: View) -> Found:
    await view.send("POST", "logout", organization=None)
    return Redirect("/dashboard/login", logs_out=True)


PAGES = [
    ShownPage("", begin, everywhere=True),
    ShownPage("logout", log_out, changes=True, everywhere=True),
]
