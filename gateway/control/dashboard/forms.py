"""Fields of forms as members of bodies, and acts that are confirmed on a page of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Shown
from gateway.control.problems import Problem


def words(text: str) -> list[str]:
    """A list that was written with commas or spaces."""
    return [each for each in re.split(r"[,\s]+", text) if each]


def at(view: View) -> str | None:
    """The time of the page's time control, in UTC if it names no zone; None for now."""
    text = view.query.get("at", "").strip()
    return f"{text}Z" if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?", text) else text or None


def number(text: str, name: str) -> int | None:
    """A whole number, or None if nothing was written."""
    text = text.strip().replace("_", "").replace(",", "")
    if not text:
        return None
    if not re.fullmatch(r"\d{1,15}", text):
        error = {"pointer": f"/{name}", "message": "not a whole number"}
        raise Problem(422, "invalid_body", f"{name}: write a whole number", errors=[error])
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An input of a form."""

    name: str
    title: str
    value: str = ""
    hint: str = ""
    type: str = "text"
    required: bool = False
    choices: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A change that is shown with its consequence before it is made."""

    title: str
    verb: str
    consequence: Sequence[str]
    command: str
    back: str
    section: str
    danger: bool = False
    fields: Sequence[Field] = field(default_factory=list)
    seen: str = ""
    """The version that the person sees, if the change is of that one alone."""
    problem: Mapping[str, Any] | None = None
    """Why the form was refused, if it is shown again."""

    def page(self, status: int = 200) -> Shown:
        return Shown("confirm.html", self.title, {"act": self}, status)
