"""Two gateways with nothing in common: `buyer` of `acme` at the one calls `sales` of `globex` at the other."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from yarl import URL

from gateway.identifiers import new_id
from gateway.identity import organization_keys
from gateway.identity.peers import Vouching
from gateway.identity.statements import Assertion
from gateway.registry import peers
from gateway.registry.agents import registration
from gateway.registry.keys import changes as keys
from gateway.registry.organizations import changes as organizations
from gateway.registry.policies import bindings
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from tests.gateway.dataplane.conftest import ACTOR, Gateway, Prepared, Reply, running
from tests.rigs.dataplane import a2a
from tests.rigs.dataplane.a2a import OTHER, message

CALLER: Final = "acme"
PATH: Final = "/supplier/a2a"
RECEIVING: Final = a2a.RECEIVING.replace('"default"', '"acme"').replace(
    "default allow",
    'deny contains "no credit" if contains(input.request.body.params.message.parts[0].text, "credit")\n\ndefault allow',
    1,
)


@dataclass
class Border:
    """`home` is the gateway of the caller, `abroad` that of the agent that is called."""

    home: Gateway
    abroad: Gateway

    async def ask(self, method: str = "SendMessage", params: Mapping[str, Any] | None = None) -> Reply:
        return await self.home.send(self.home.request(message(method, params), "A2A-Version: 1.0", path=PATH))

    async def halves(self, kind: str = "decided") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The entries of this kind in the logs of both organizations."""
        found = []
        for gateway, organization in ((self.home, CALLER), (self.abroad, OTHER)):
            await gateway.entries()
            found.append([each for each in gateway.log(organization) if each["kind"] == kind])
        return found[0], found[1]

    async def refused(self) -> list[dict[str, Any]]:
        """The refusals without a decision in the log of the called gateway itself."""
        self.abroad.plane._teller._refusals.flush()
        await self.abroad.entries()
        return [each for each in self.abroad.log("system") if each["kind"] == "refused"]


def jwks(gateway: Gateway) -> str:
    """What the operator of a gateway hands over."""
    return organization_keys.public(organization_keys.gateway_keys(gateway.data.keys)).decode()


@asynccontextmanager
async def two_gateways(prepared: Prepared, path: Path, **changed: Any) -> AsyncIterator[Border]:
    """Both run, and trust each other; keywords change the settings of the one that is called."""
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(running(prepared, path / "home"))
        abroad = await stack.enter_async_context(running(prepared, path / "abroad", **changed))
        a2a.serve(abroad, receiving=RECEIVING)
        _call(home, abroad.port)
        peers.add_peer(abroad.registry, actor=ACTOR, name="home", jwks=jwks(home), speaks_for=[CALLER])
        peers.add_peer(home.registry, actor=ACTOR, name="abroad", jwks=jwks(abroad), speaks_for=[OTHER])
        yield Border(home, abroad)


def _call(gateway: Gateway, port: int) -> None:
    """The organization that calls, with its agent, its policy and the other agent as an upstream."""
    where: dict[str, Any] = {"actor": ACTOR, "organization": CALLER}
    organization_keys.create(gateway.data.keys)
    organizations.create_organization(gateway.registry, actor=ACTOR, name=CALLER)
    agent = registration.register_agent(gateway.registry, **where, name="buyer", owner="ada@acme")
    a2a.into_force(gateway)
    bindings.bind(gateway.registry, **where, kind="agent", subject=agent.id, bundle="bot")
    gateway.key = keys.create_key(gateway.registry, gateway.peppers, **where, agent=agent.id).text
    add_upstream(
        gateway.registry,
        Vault.load(gateway.data.keys),
        **where,
        name="supplier",
        provider="a2a",
        base_url=f"http://127.0.0.1:{port}{a2a.PATH}",
        secret=None,
        auth="peer",
        insecure=True,
    )


@dataclass
class Forged:
    """A request to the called gateway as whoever holds a key of the caller's gateway can make it; each member differs
    from an honest one where a test says so.
    """

    body: bytes
    path: str
    lines: dict[str, str]

    def bytes(self) -> bytes:
        head = [f"POST {self.path} HTTP/1.1", *(f"{name}: {text}" for name, text in self.lines.items())]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


def forged(
    border: Border,
    keys: Path | None = None,
    moved: int = 0,
    body: Mapping[str, Any] | None = None,
    path: str = a2a.PATH,
    **claims: Any,
) -> Forged:
    """A signed request, with other claims, made so many seconds later than now."""
    url = URL(f"http://127.0.0.1:{border.abroad.port}{path}")
    now = int(time.time()) + moved
    said = Assertion(
        **{
            "organization": CALLER, "agent": new_id("agt"), "agent_name": "buyer", "agent_version": 1,
            "decision": new_id("dec"), "leaf": "0" * 64, "action": "a2a.message.send", "audience": str(url),
            "nonce": secrets.token_urlsafe(18), "created": now, "expires": now + 60, **claims,
        }
    )  # fmt: skip
    raw = orjson.dumps(body or message("SendMessage"))
    lines = {"A2A-Version": "1.0", "Content-Type": "application/json"}
    signed = Vouching(keys or border.home.data.keys).headers(said, "POST", url, lines, raw)
    host = {"Host": f"127.0.0.1:{border.abroad.port}", "Content-Length": str(len(raw))}
    return Forged(raw, path, {**host, **lines, **signed})
