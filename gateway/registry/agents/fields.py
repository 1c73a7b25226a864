"""The texts that describe an agent and that no policy reads, declared once.

A new text is a member of `AgentTexts` and a migration that adds its column to `agent` and `agent_version`. The tables,
records, versions, log entries, bodies of the control API, options of commands, shown lines and fleet files have it by
loops over `TEXTS`; `docs/reference/make.py` writes the references and the schema of fleet files anew.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.registry import names


@dataclass(frozen=True, slots=True, kw_only=True)
class TextField:
    """A text of an agent: its name, a sentence about it, its greatest length, and its label in `agents show`."""

    name: str
    help: str
    limit: int
    shown: str


def _text(help_: str, limit: int = names.MAX_TEXT, shown: str = "") -> Any:
    return dataclasses.field(default="", metadata={"help": help_, "limit": limit, "shown": shown})


@dataclass(frozen=True, kw_only=True)
class AgentTexts:
    """The texts. It has no slots, so that tables can have it as a base; their own way to set a member comes first."""

    description: str = _text("What it does, in one line.", limit=names.MAX_DESCRIPTION)
    purpose: str = _text("What it is for, as an auditor would ask.")
    model_family: str = _text("The models that it is made for, such as gpt-4o.", shown="models")


TEXTS: Final = tuple(TextField(name=each.name, **each.metadata) for each in dataclasses.fields(AgentTexts))
NAMES: Final = tuple(each.name for each in TEXTS)


def texts(row: AgentTexts) -> dict[str, str]:
    """The texts of an agent, by their names."""
    return {name: getattr(row, name) for name in NAMES}


_RULES: Final[Mapping[str, Callable[[str], str]]] = {
    "owner": lambda text: names.check_text("owner", text),
    "team": lambda text: names.check_name("team", text) if text else "",
    "environment": lambda text: names.check_name("environment", text) if text else "",
    **{each.name: functools.partial(names.check_text, each.name.replace("_", " "), limit=each.limit) for each in TEXTS},
}
"""The rule of each member that is a text; policies read the first three."""


def checked(given: Mapping[str, str]) -> dict[str, str]:
    """Some of the members that are texts, if each is acceptable; raises `TypeError` for what is no such member."""
    if unknown := given.keys() - _RULES.keys():
        raise TypeError(f"an agent has no text {sorted(unknown)}")
    return {name: _RULES[name](text) for name, text in given.items()}
