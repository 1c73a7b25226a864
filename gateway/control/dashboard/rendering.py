"""Templates: Jinja2 with every value escaped and its characters seen, and how times, money and numbers are written."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from gateway.control.dashboard.door import ROOT, View
from gateway.control.dashboard.shown import Shown
from gateway.control.dashboard.sources import LABELS

_HERE: Final = Path(__file__).parent

SECTIONS: Final = (
    ("", "Home", None),
    ("agents", "Agents", "agents"),
    ("decisions", "Decisions", "audit"),
    ("approvals", "Approvals", "approvals"),
    ("policies", "Policies", "policies"),
    ("usage", "Usage", "usage"),
    ("limits", "Limits", "limits"),
    ("upstreams", "Upstreams", "upstreams"),
    ("log", "Log", "audit"),
    ("organization", "Organization", "operators"),
)
"""The parts of the navigation: a path, a title, and the noun that the person must be able to read."""

GOOD: Final = frozenset(
    {
        LABELS["allowed"],
        "active",
        "allowed",
        "allow",
        "ok",
        "accepted",
        "completed",
        "in force",
        "live",
        "true",
        "grant",
        "ready",
        "success",
    }
)
BAD: Final = frozenset(
    {
        LABELS["denied"],
        "revoked",
        "denied",
        "deny",
        "problem",
        "failed",
        "rejected",
        "expired",
        "false",
        "error",
        "compromised",
    }
)
WARN: Final = frozenset({"suspended", "remark", "retiring", "shadow", "awaiting_approval", "overdue", "retired"})


def page(view: View, shown: Shown) -> bytes:
    """A page of a person who is logged in."""
    sections = [
        (view.link(*([path] if path else [])), title, path)
        for path, title, noun in SECTIONS
        if noun is None or view.may(noun)
    ]
    values = {
        **shown.values,
        "title": shown.title,
        "view": view,
        "sections": sections,
        "csrf": view.csrf,
        "once": secrets.token_urlsafe(16),
        "warnings": view.warnings,
        "link": view.link,
    }
    return _environment().get_template(shown.template).render(values).encode()


def alone(template: str, values: Mapping[str, Any]) -> bytes:
    """A page of nobody in particular."""
    return _environment().get_template(template).render({"view": None, **values}).encode()


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        finalize=_seen,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "when": when,
        "money": money,
        "number": number,
        "tone": tone,
        "words": lambda text: str(text).replace("_", " "),
        "json": pretty,
    }
    made.globals |= {"root": ROOT, "static": _static(), "labels": LABELS}
    return made


def _static() -> Mapping[str, str]:
    """The address of each static file, with the digest of what is in it."""
    found = {}
    for each in sorted((_HERE / "static").iterdir()):
        digest = hashlib.sha256(each.read_bytes()).hexdigest()[:12]
        found[each.name.partition(".")[2]] = f"{ROOT}/static/{each.name}?v={digest}"
    return found


def when(text: str) -> str:
    """A time of the API for people: UTC, to the second. The script of the page makes it local."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError):
        return str(text)


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _seen(value: Any) -> Any:
    """A value as a template writes it. Markup stays: what templates have made, and with `|e` what a form sends back."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def visible(text: str) -> str:
    """A text whose every character is seen: none is hidden, and none changes the direction of the others."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


def money(microusd: Any) -> str:
    """US dollars, from millionths of them."""
    if microusd is None:
        return ""
    value = int(microusd)
    shown = f"{abs(value) / 1_000_000:,.2f}" if abs(value) >= 10_000 or value == 0 else f"{abs(value) / 1_000_000:.6f}"
    return f"{'-' if value < 0 else ''}${shown}"


def number(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, (int, float)) else str(value)


def tone(value: Any) -> str:
    """The class of a badge."""
    text = str(value).lower()
    return "good" if text in GOOD else "bad" if text in BAD else "warn" if text in WARN else "plain"
