"""Two organizations at random: whatever the operator of one asks, nothing of the other is seen, counted or changed."""

from __future__ import annotations

import functools
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.gateway.cli.remote_scripts import of_a_gateway
from tests.gateway.control import tenant_requests
from tests.gateway.control.conftest import Control, document_of
from tests.gateway.control.tenancy import ID, NAMES, Tenant, Watch, reference, tables
from tests.gateway.control.tenant_commands import NOT_OF_ONE_ORGANIZATION, CommandLine, commands
from tests.rigs.control.tenants import tenants  # noqa: F401  # fixtures among them


@dataclass
class Run:
    """One run: what was asked, and how often it was carried out."""

    watch: Watch
    line: CommandLine
    chance: random.Random
    tenants: tuple[Tenant, Tenant]
    done: Counter[str] = field(default_factory=Counter)
    asked: set[str] = field(default_factory=set)

    def step(self) -> None:
        me, other = self.chance.sample(self.tenants, 2)
        before = self.watch.state_of(other)
        sent = self.command(me, other) if self.chance.random() < 0.5 else self.request(me, other)
        assert self.watch.state_of(other) == before, f"{sent} of {me.name} changed {other.name}"

    def request(self, me: Tenant, other: Tenant) -> str:
        refer = functools.partial(reference, self.chance, me, other)
        if self.chance.random() < 0.4:
            document = document_of(self.watch.control.api)
            drawn = tenant_requests.of_document(self.chance, document, me, other, refer)
        else:
            drawn = tenant_requests.draw(self.chance, me, other, refer)
        method, path, body, query, headers = drawn
        reply = me.client(method, path, body, headers=headers, **query)
        sent = f"{path} {orjson.dumps(body).decode()} {query}"
        assert reply.status < 500, (sent, reply.raw)
        self.watch.check(me, other, reply.raw.decode(), sent, refused=reply.status >= 300)
        if reply.status < 300:
            self.done["requests"] += 1
            if isinstance(reply.json, dict) and reply.json.get("next"):
                me.cursors.append(reply.json["next"])
        self.asked.add(f"{method} {_template(document_of(self.watch.control.api), path)}")
        return f"{method} {sent}"

    def command(self, me: Tenant, other: Tenant) -> str:
        refer = functools.partial(reference, self.chance, me, other)
        name, arguments = self.chance.choice(sorted(commands(self.chance, me, other, refer).items()))
        if self.chance.random() < 0.15:
            name = "agents register"  # so that there is something to ask about
            arguments = commands(self.chance, me, other, refer)[name]
        code, text = self.line.run(me.token, *name.split(), *arguments)
        sent = " ".join([name, *arguments])
        assert "internal error" not in text, (sent, text)
        self.watch.check(me, other, text, sent, refused=code != 0)
        if code == 0:
            self.done[name] += 1
        return f"gateway {sent}"


def _template(document: dict[str, Any], path: str) -> str:
    """The path of the document that this one is of: the one with the fewest parameters."""
    found = [each for each in document["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), path)]
    return min(found, key=lambda each: each.count("{"))


@pytest.fixture
def line(control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    with CommandLine.of(control.api, tmp_path, monkeypatch) as made:
        yield made


def run(control: Control, line: CommandLine, tenants: tuple[Tenant, Tenant], operations: int, seed: int) -> Run:
    made = Run(Watch(control), line, random.Random(seed), tenants)
    for tenant in tenants:
        tenant.ids |= set(ID.findall(tenant.client("GET", "/me").raw.decode()))
        for name in NAMES:
            assert line.run(tenant.token, "agents", "register", name, "--owner", tenant.mark, "--team", name)[0] == 0
    for _ in range(operations):
        made.step()
    return made


@pytest.mark.slow
def test_two_organizations_know_nothing_of_each_other(
    control: Control, line: CommandLine, tenants: tuple[Tenant, Tenant]
) -> None:
    operations = int(os.environ.get("TENANT_OPERATIONS", "250"))
    made = run(control, line, tenants, operations, int(os.environ.get("TENANT_SEED", "4")))
    print(f"{operations} operations, carried out: {dict(made.done)}")
    assert made.watch.seen == operations
    assert made.done["requests"] > operations // 10, "most requests were refused, so little was tried"
    assert made.done.total() - made.done["requests"] > operations // 10, "most commands were refused"
    assert line.requests > operations // 3
    if operations >= 5000:
        document = document_of(control.api)["paths"]
        every = {f"{method.upper()} {path}" for path, methods in document.items() for method in methods}
        assert sorted(every - made.asked - {"GET /events", "POST /logout"}) == []
    for tenant in tenants:
        agents = tenant.client("GET", f"/organizations/{tenant.name}").ok()["agents"]
        listed = tenant.client("GET", "/agents", limit="500").ok()["items"]
        assert agents == sum(each["status"] in ("active", "suspended") for each in listed)
        assert {each["organization"] for each in listed} == {tenant.name}


def test_every_command_is_among_those_that_are_tried(tenants: tuple[Tenant, Tenant]) -> None:
    tried = set(commands(random.Random(1), *tenants, lambda prefix: f"{prefix}1"))
    assert sorted(set(of_a_gateway()) - tried - NOT_OF_ONE_ORGANIZATION) == []


def test_every_table_of_organizations_is_watched() -> None:
    assert {"agent", "api_key", "binding", "operator_token", "legacy_key", "team_version"} <= set(tables())
