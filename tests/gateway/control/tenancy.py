"""Two organizations that know nothing of each other, and what must hold after anything that one of them does."""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from gateway.registry.models import SQLModel
from tests.gateway.control.conftest import Client, Control

ID = re.compile(r"\b(?:agt|key|bnd|lim|ups|rte|tem|opr|otk|org|chg|iss|rul|whk|stp|lgk)_[0-9a-f-]{36}\b")
NAMES = ["bot", "crawler", "blue", "openai", "chat"]
"""Both organizations have things of these names; whatever else an operator names has its mark."""
UNKNOWN = "agt_01938c5e-0000-7000-8000-000000000000"


def tables() -> list[str]:
    """Every table whose rows belong to an organization."""
    return sorted(each.name for each in SQLModel.metadata.sorted_tables if "organization_id" in each.columns)


@dataclass
class Tenant:
    """An organization, its operator with a token, and the ids that it has seen, which are its own."""

    name: str
    client: Client
    token: str
    ids: set[str] = field(default_factory=set)
    cursors: list[str] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """Stands in every text that this operator writes."""
        return f"mark-of-{self.name}"


@dataclass
class Watch:
    """Looks at what one organization is told, and at what the other one has."""

    control: Control
    seen: int = 0

    def check(self, me: Tenant, other: Tenant, text: str, sent: str, *, refused: bool) -> None:
        """Fail if `text`, which `me` was told when it had asked `sent`, says anything of the other organization.

        A refusal may repeat what was asked for, and so may the word that there is nothing.
        """
        self.seen += 1
        asked = sent if refused or text.startswith("no ") else ""
        words = set(re.findall(rf"[\w.-]*{other.mark}[\w-]*", text))
        assert words <= set(re.findall(rf"[\w.-]*{other.mark}[\w-]*", asked)), (sent, text)
        foreign = {each for each in ID.findall(text) if each in other.ids and each not in asked}
        assert not foreign, (sent, text)
        if other.name in text.replace(other.mark, ""):
            assert other.name in asked, (sent, text)
        if not refused:
            me.ids |= set(ID.findall(text))

    def state_of(self, tenant: Tenant) -> list[Any]:
        """All rows of an organization, and the length of its log."""
        with closing(sqlite3.connect(self.control.home.data.registry_db)) as db, db:
            mine = "organization_id = (SELECT id FROM organization WHERE name = ?)"
            rows = [db.execute(f"SELECT * FROM {each} WHERE {mine}", (tenant.name,)).fetchall() for each in tables()]
            rows.append(db.execute("SELECT * FROM organization WHERE name = ?", (tenant.name,)).fetchall())
        with closing(sqlite3.connect(self.control.home.data.audit_db)) as db, db:
            return [*rows, db.execute("SELECT sum(size) FROM log WHERE organization = ?", (tenant.name,)).fetchall()]


def reference(chance: random.Random, me: Tenant, other: Tenant, prefix: str) -> str:
    """The name or id of something: of mine, of the other's, or of nobody's."""
    if chance.random() < 0.6:
        mine = sorted(each for each in me.ids if each.startswith(prefix))
        return chance.choice([*mine[-9:], *chance.sample(mine, min(6, len(mine))), *NAMES])
    theirs = sorted(each for each in other.ids if each.startswith(prefix))
    return chance.choice([*theirs[-9:], *theirs[:9], f"{other.mark}-{chance.randrange(9)}", UNKNOWN])
