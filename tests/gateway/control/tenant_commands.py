"""Commands of an organization's operator, at random: every one that has a remote form, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import orjson
import pytest
from typer.main import get_command

from gateway import cli
from gateway.control.server import ControlApi
from gateway.identity import public_keys
from tests.gateway.control import conftest
from tests.gateway.control.conftest import Client
from tests.gateway.control.tenancy import NAMES, Tenant
from tests.gateway.control.tenant_requests import fleet, shared

URL: Final = "https://gw.example:8081"

NEW_FILE: Final = "@new"
INVOICE: Final = "@invoice"
KEY: Final = "test+34552f9c+AUfJMgWXLI2SJjPV7Gs9dM6jc18Vov5ISs5i57SO+3dF"
PUBLIC_KEY: Final = "@public"
FLEET: Final = "@fleet "
"""As arguments: a file that is not there yet, an invoice, one with a new public key, one with the text that follows."""

OLD_KEY: Final = "OLD_KEY"
"""The variable with a provider's key that programs share."""

NOT_OF_ONE_ORGANIZATION: Final = frozenset[str]()
"""Commands that are not tried, with the reason."""


@dataclass
class CommandLine:
    """`gateway --server …`, over the control API without its sockets."""

    api: ControlApi
    monkeypatch: pytest.MonkeyPatch
    files: Path
    requests: int = 0

    @classmethod
    @contextlib.contextmanager
    def of(cls, api: ControlApi, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
        made = cls(api, monkeypatch, place / "files")
        folder = place / "laptop"
        for each in (folder, made.files):
            each.mkdir()
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("XDG_CONFIG_HOME", str(place / "config"))
            patch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it
            patch.setattr(httpx.HTTPTransport, "handle_request", lambda _self, request: made.answer(request))
            # Nothing is encrypted here, and reading all authorities of the machine takes longer than a command.
            patch.setattr("gateway.management.http._trusted", lambda _: False)
            # The parser is built once: that takes longer than most commands.
            command = get_command(cli.build())
            patch.setattr(cli, "build", lambda _only: None)
            patch.setattr(cli, "get_command", lambda _: command)
            for name in ("AIG_DATA", "AIG_SERVER"):
                patch.delenv(name, raising=False)
            yield made
        assert list(folder.iterdir()) == []

    def run(self, token: str, *arguments: str) -> tuple[int, str]:
        """The exit code of a command, and all that it says."""
        said = io.StringIO()
        new = self.files / f"{self.requests}.new"
        public = self.files / f"{self.requests}.pem"
        invoice = self.files / f"{self.requests}.csv"
        if PUBLIC_KEY in arguments:
            public.write_text(public_keys.public_pem(public_keys.generate("ed25519").public_key()))
        fleet = self.files / f"{self.requests}.yaml"
        for each in arguments:
            if each.startswith(FLEET):
                fleet.write_text(each.removeprefix(FLEET))
        if INVOICE in arguments:
            invoice.write_text("model,requests\no3,1\n")
        known = {NEW_FILE: str(new), PUBLIC_KEY: str(public), INVOICE: str(invoice)}
        given = [str(fleet) if each.startswith(FLEET) else known.get(each, each) for each in arguments]
        with (
            self.monkeypatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            patch.setenv("AIG_TOKEN", token)
            patch.setenv(OLD_KEY, f"sk-that-many-programs-share-{token[-9:]}")  # one of both's would be told to both
            code = cli.main(["--server", URL, *given])
        written = new.read_text() if new.exists() else ""
        return code, said.getvalue() + written

    def answer(self, request: httpx.Request) -> httpx.Response:
        """In the place of the network: what the control API answers must be documented, and no failure of its own."""
        self.requests += 1
        path = request.url.raw_path.split(b"?")[0].decode()
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        client = Client(self.api, None)
        reply = asyncio.run(
            client._exchange(request.method, path, request.url.query.decode(), headers, request.content)
        )
        conftest.check(self.api, request.method, path, reply)
        assert reply.status < 500, (request.url, reply.raw)
        return httpx.Response(reply.status, headers=reply.headers, content=reply.raw, request=request)


def commands(chance: random.Random, me: Tenant, other: Tenant, reference: Callable[[str], str]) -> dict[str, list[str]]:
    """The arguments of a command of each kind."""
    agent, name, why = reference("agt_"), chance.choice([*NAMES, f"{me.mark}-{chance.randrange(9)}"]), me.mark
    team = chance.choice([*NAMES, f"{other.mark}-{chance.randrange(9)}"])
    subject = chance.choice([agent, f"team:{team}", f"org:{chance.choice([me.name, other.name])}"])
    limit = chance.choice(["requests_per_day", "tokens_per_hour"])
    organization = chance.choice([me.name, other.name, "nobodys"])
    theirs = chance.choice([other.name, "nobodys"])
    bundle = chance.choice(["base", "other"])
    # An operator who creates a team of the other one's name has one of that name.
    create = [] if other.mark in subject else _maybe(chance, "--create")
    # Not its own operator, nor its own token: everything else would be refused from then on.
    foreign = sorted(each for each in other.ids if each.startswith("opr_"))
    operator = chance.choice([*(f"{me.mark}-{number}" for number in range(9)), other.mark, *foreign[:9]])
    token = chance.choice([*sorted(each for each in other.ids if each.startswith("otk_"))[:9], "otk_nobodys"])
    some = {
        "agents register": [name, "--owner", why, "--team", chance.choice(NAMES), "--description", why],
        "agents list": [*_maybe(chance, "--limit", "2"), *_maybe(chance, "--after", agent)],
        "agents show": [agent],
        "agents history": [agent],
        "agents update": [agent, "--owner", why, "--label", f"of={why}{chance.randrange(99)}"],
        **{f"agents {verb}": [agent, "--reason", why] for verb in ("review", "suspend", "resume", "revoke", "retire")},
        "agents erase-content": [agent],
        "keys create": [agent, "--reason", why],
        "keys list": _maybe(chance, agent),
        "keys add-public": [PUBLIC_KEY, "--agent", agent, "--reason", why],
        "keys generate": ["--out", NEW_FILE, "--agent", agent, "--reason", why],
        "keys add-spiffe": [
            f"spiffe://{shared(chance, me.mark, 'common.example')}/{chance.randrange(3)}",
            "--agent",
            agent,
        ],
        "keys rotate": [
            *chance.choice(
                [
                    ["--agent", agent],
                    [reference("key_")],
                    ["--team", team, "--out", NEW_FILE],
                    ["--all", "--out", NEW_FILE],
                ]
            ),
            "--overlap",
            "1h",
        ],
        "keys revoke": [reference("key_"), "--reason", why],
        "operators list": [],
        "operators add": [f"{me.mark}-{chance.randrange(99)}", "--role", "viewer", "--reason", why],
        "operators show": [reference("opr_")],
        "operators update": [operator, "--role", "auditor", "--reason", why],
        "operators revoke": [operator, "--reason", why],
        "operators token create": [operator, "--expires", "1h", "--reason", why],
        "operators token list": [reference("opr_")],
        "operators token revoke": [token, "--reason", why],
        "operators readmit": [operator, "--reason", why],
        "permissions": ["--model", "o3", *_maybe(chance, "--all")],
        "agents permissions": [agent, "--model", "o3"],
        "audit access": [agent],
        "decide": ["--agent", agent, "--route", "GET /v1/models", "--key", reference("key_")],
        "status": [],
        "audit list": [],
        "audit checkpoint": [],
        "upstreams list": [],
        "upstreams add": [chance.choice(NAMES), "--no-key"],
        "upstreams show": [chance.choice(NAMES)],
        "upstreams check": ["nobodys"],  # not one of its own, which would be asked over the network
        "upstreams remove": [chance.choice(NAMES)],
        "agents publish": [agent, "--endpoint", "https://seller.example/a2a"],
        "agents withdraw": [agent],
        "agents card": [agent],
        "agents card-keys": [],
        "tools list": _maybe(chance, chance.choice(NAMES)),
        "tools show": [chance.choice(NAMES), "find"],
        "tools look": [chance.choice(NAMES)],  # none of its own is an MCP server
        "tools approve": [chance.choice(NAMES), chance.choice(["find", "--all"])],
        "routes list": [],
        "routes set": [f"r-{chance.choice(NAMES)}", chance.choice(NAMES)],
        "routes show": [f"r-{chance.choice(NAMES)}"],
        "routes remove": [f"r-{chance.choice(NAMES)}"],
        "issuers list": [],
        **{
            f"issuers {verb}": [
                chance.choice(NAMES),
                "--issuer",
                f"https://{shared(chance, me.mark, 'common.example')}",
                "--audience",
                chance.choice(NAMES),
                "--jwks-url",
                f"https://{me.mark}.example",
            ]
            for verb in ("add", "add-persons")
        },
        "issuers update": [chance.choice(NAMES), "--jwks-url", f"https://{me.mark}.example", "--reason", why],
        "issuers remove": [chance.choice(NAMES)],
        "issuers rule add": [
            chance.choice(NAMES),
            "--agent",
            agent,
            "--claim",
            f"of={me.mark}{chance.randrange(99)}",
        ],
        "issuers rule list": _maybe(chance, chance.choice(NAMES)),
        "issuers rule remove": [reference("rul_")],
        "prices list": _maybe(chance, "openai"),
        "prices show": ["gpt-4o", *_maybe(chance, "--upstream", chance.choice(NAMES))],
        "adopt start": ["--upstream", chance.choice(NAMES), "--until", "5d", "--key-env", OLD_KEY, "--owner", why],
        "adopt status": ["--all", *_maybe(chance, "--address", "10.1.2.3")],
        "adopt list": [],
        "adopt stop": _maybe(chance, "--upstream", chance.choice(NAMES)),
        "webhooks list": [],
        "webhooks add": [f"https://{me.mark}.example/{chance.randrange(9)}"],
        "webhooks remove": [reference("whk_")],
        "approvals list": _maybe(chance, "--agent", agent),
        "approvals show": [reference("apr_"), *_maybe(chance, "--call")],
        "approvals approve": [reference("apr_"), *_maybe(chance, reference("apr_")), "--reason", why],
        "approvals deny": [
            *chance.choice([[reference("apr_")], [reference("apr_"), reference("apr_")], ["--all", "--yes"]]),
            "--reason",
            why,
        ],
        "approvals revoke": [reference("apr_"), "--reason", why],
        # Not one of its own, which would be told over the network.
        "webhooks test": [
            chance.choice([*sorted(each for each in other.ids if each.startswith("whk_")), "whk_nobodys"])
        ],
        "teams create": [name, "--owner", why, "--description", why],
        "teams update": [team, "--owner", why, "--description", f"{why} {chance.randrange(99)}"],
        "teams list": [],
        "teams show": [team],
        "teams suspend": [team, "--reason", why],
        "teams resume": [team, "--reason", why],
        # Not those in which everything else happens: revoking is for good.
        "teams revoke": [chance.choice([f"{each.mark}-{chance.randrange(9)}" for each in (me, other)]), "--yes"],
        "bind": [subject, bundle, "--reason", why, *create],
        "unbind": [subject, bundle, "--reason", why],
        "bindings list": _maybe(chance, agent),
        "limits set": [subject, limit, str(chance.randrange(99)), "--reason", why, *create],
        "limits raise": [subject, limit, str(chance.randrange(999)), "--for", "2h", "--reason", why],
        "limits remove": [subject, limit, "--reason", why],
        "limits list": [],
        "limits show": [subject],
        "mandates grant": [
            *(agent, "--to", reference("agt_"), "--action", "chat.*", "--amount", "1usd", "--for", "2h"),
            *("--purpose", why, "--reason", why),
        ],
        "mandates list": [],
        **{f"mandates {verb}": [reference("mnd_")] for verb in ("show", "export", "revoke")},
        "apply": [
            "-f",
            FLEET + orjson.dumps(fleet(chance, me, other, agent)).decode(),
            *_maybe(chance, "--dry-run"),
            *_maybe(chance, "--keys", NEW_FILE),
            *(["--yes", "--prune"] if chance.random() < 0.1 else []),
            "--reason",
            why,
        ],
        "export": _maybe(chance, "--out", NEW_FILE),
    }
    for each, arguments in some.items():
        if each != "prices list" and chance.random() < 0.15:
            arguments += ["--org", organization]
    some |= {
        # The keys of the whole gateway, which are no organization's.
        **{each: [] for each in ("vault status", "vault rotate", "keys peppers", "keys add-pepper")},
        "keys remove-pepper": ["1"],
        "keys leaked": [PUBLIC_KEY],
        "stop": ["--reason", why, *chance.choice([["--all"], ["--org", organization]])],
        "resume": chance.choice([["--all"], ["--org", organization]]),
        "orgs create": [theirs],
        "orgs update": [organization, "--review-days", str(chance.randrange(1, 90)), "--reason", why],
        "audit show": [reference("chg_")],
        "audit explain": [reference("chg_")],
        "audit report": ["--framework", "soc2"],
        "audit export": ["--to", NEW_FILE],
        "audit prove": [reference("chg_"), "--public-key", KEY],
        "explain": [reference("chg_")],
        "usage": [],
        "usage reconcile": [
            *(
                INVOICE,
                "--provider",
                "openai",
                "--month",
                "2026-11",
                *_maybe(chance, "--upstream", chance.choice(NAMES)),
            ),
        ],
        # Those of the whole gateway.
        "operators login-provider list": [],
        "operators login-provider add": [
            *(name, "--issuer", f"https://{me.mark}.example", "--client-id", "cli", "--reason", why),
        ],
        "operators login-provider show": [chance.choice(NAMES)],
        "operators login-provider update": [chance.choice(NAMES), "--session", "1h"],
        "operators login-provider remove": [chance.choice(NAMES)],
        "operators login-rule list": _maybe(chance, chance.choice(NAMES)),
        "operators login-rule add": [
            *(chance.choice(NAMES), "--claim", f"of={me.mark}", "--role", "owner", "--org", organization),
        ],
        "operators login-rule remove": [chance.choice(["lgr_nobodys", reference("lgr_")])],
        "peers list": [],
        "peers keys": [],
        "peers add": [name, "--keys", PUBLIC_KEY, "--speaks-for", me.mark, "--reason", why],
        "peers update": [chance.choice(NAMES), "--speaks-for", me.mark],
        **{f"peers {verb}": [chance.choice(NAMES)] for verb in ("show", "disable", "enable", "remove")},
        "tokens keys": [],
        "policies status": _maybe(chance, "0123456"),
        "policies history": [],
        "policies impact": ["0123456"],
        "policies verify-impact": [NEW_FILE],
        "policies commits": [],
        "policies show": ["0123456"],
        "policies diff": ["0123456", *_maybe(chance, "--since", "0123456")],
        "policies propose": ["bot/authz.rego", "--branch", "mine", "--message", why, *_maybe(chance, "--check")],
        "tokens rotate-key": [],
        "orgs list": [],
        "orgs show": [organization],
        # Not its own: everything else would be refused from then on.
        **{f"orgs {verb}": [theirs, "--reason", why] for verb in ("suspend", "revoke")},
        "orgs resume": [organization],
        **{f"orgs {verb}": [organization, "--trust-domain", f"{me.mark}.example"] for verb in ("give", "take")},
    }
    some["orgs revoke"] += ["--yes"]
    for each, arguments in some.items():
        if chance.random() < 0.5 and each not in _WITHOUT_JSON:
            arguments += ["--json"]
    return some


_WITHOUT_JSON: Final = frozenset({"audit checkpoint"})


def _maybe(chance: random.Random, *arguments: str) -> list[str]:
    return list(arguments) if chance.random() < 0.5 else []
