"""Logins of operators: without a token, through an OpenID Connect provider (login.md).

    1  `begin` makes nonce and state, and says which address the person's browser opens
    2  the browser comes back to the command line, on the person's own machine, with a code
    3  `finish` exchanges the code at the provider, verifies the id_token, and gives a token of an operator

The gateway takes no id_token from a client, so one that was made for somebody else or for another audience is of no
use, and no login can be repeated: its nonce is in the id_token, its id in the one token that it gives. Between the
steps all is in a ticket that the client keeps, sealed; what was only begun costs the gateway nothing.

All refusals look alike. The log says why, for those of one kind together, since anybody can cause them.
Sources: RFC 6749, RFC 7636, RFC 8252, RFC 9207; OpenID Connect Core 1.0.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import urlencode

from gateway.control.gate import Failures
from gateway.control.operation import B, Context
from gateway.control.places import held
from gateway.control.problems import Problem
from gateway.control.provider_client import CodeRefusedError, ProviderClient, ProviderUnavailableError
from gateway.control.sealing import Sealer
from gateway.errors import GatewayError, did_you_mean
from gateway.identifiers import new_id
from gateway.identity import jose, logins
from gateway.identity.jose import InvalidTokenError
from gateway.registry import publication
from gateway.registry.operators import login_providers
from gateway.registry.operators import logins as operator_logins
from gateway.registry.operators.login_providers import LoginProviderRecord
from gateway.registry.operators.logins import LoginRefusal
from gateway.registry.records import NewToken
from gateway.shares import Shares, address_of

logger = logging.getLogger("gateway.control.logins")

T = TypeVar("T")

TICKET_SECONDS: Final = 600
"""The time that a person may take."""
MAX_FINISHING: Final = 16
"""The most logins that may wait for their provider at a time."""
_THREADS: Final = 8
MAX_BEGUN: Final = 30
"""The most logins that an address may begin in a minute."""
_LONGEST_TICKET: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A login that was begun: what the client keeps, and where the browser goes."""

    login: str
    provider: str
    authorization_url: str
    state: str
    redirect_uri: str
    expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ticket:
    """A login between its two steps. `expires` is in seconds since 1970."""

    id: str
    provider: str
    nonce: str
    challenge: str
    redirect_uri: str
    wanted: str | None
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit(Generic[B]):
    """A request without a token."""

    logins: Logins
    body: B
    address: str


class _RefusedError(Exception):
    """The login is refused, for this reason."""

    def __init__(self, why: str, provider: LoginProviderRecord | None) -> None:
        super().__init__(why)
        self.why = why
        self.provider = provider


def redirect_uri(port: int) -> str:
    """The URL that the browser brings the code to: on this machine, and nowhere else (RFC 8252, section 7.3)."""
    return f"http://127.0.0.1:{port}/callback"


class Logins:
    """Owned by the event loop's thread. Questions to the registry run in `threads`, which are for nothing else."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.threads = ThreadPoolExecutor(_THREADS, "control-api-logins")
        self._sealer = Sealer(context.peppers.current, "logins of operators", _LONGEST_TICKET)
        self._client = ProviderClient()
        self._failures = Failures(time.monotonic, "refused logins")
        self._begun = Failures(time.monotonic, "logins", MAX_BEGUN)
        self._refused = RefusedLogins(self._record)
        self._finishing = Shares("logins under way", MAX_FINISHING)

    async def close(self) -> None:
        await self._refused.close()

    # --- the first step -----------------------------------------------------------------------------------------------

    async def begin(
        self,
        address: str,
        *,
        challenge: str,
        redirect_uri: str,
        provider: str | None,
        wanted: str | None,
        kind: str = "lgn",
    ) -> Begun:
        """A new login. Raises `Problem` if there is no such provider, or it cannot be asked.

        `kind` begins the id of a login, which says what the token of it is for (`records.py`).
        """
        self._failures.check(address, b"")
        self._begun.count(address)
        found = _named(await self.in_thread(lambda: login_providers.providers(self._context.registry)), provider)
        try:
            metadata = await self._client.metadata(found)
        except ProviderUnavailableError as error:
            raise _unavailable() from error
        ticket = _Ticket(
            id=new_id(kind),
            provider=found.id,
            nonce=secrets.token_urlsafe(32),
            challenge=challenge,
            redirect_uri=redirect_uri,
            wanted=wanted,
            expires=int(time.time()) + TICKET_SECONDS,
        )
        state = secrets.token_urlsafe(32)
        asked = {
            "response_type": "code",
            "client_id": found.client_id,
            "redirect_uri": ticket.redirect_uri,
            "scope": " ".join(found.scopes),
            "state": state,
            "nonce": ticket.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in metadata.authorization else "?"
        return Begun(
            login=self._seal(ticket),
            provider=found.name,
            authorization_url=f"{metadata.authorization}{mark}{urlencode(asked)}",
            state=state,
            redirect_uri=ticket.redirect_uri,
            expires_in=TICKET_SECONDS,
        )

    # --- the second step ----------------------------------------------------------------------------------------------

    async def finish(self, address: str, *, login: str, code: str, verifier: str, issuer: str | None) -> NewToken:
        """The token of an operator, for a code. Raises `Problem`: 401 whatever is wrong with the login."""
        self._failures.check(address, b"")
        try:
            with held(self._finishing, address_of(address)):
                return await self._finish(login, code, verifier, issuer)
        except _RefusedError as refused:
            self._refused.add(refused.provider, refused.why)
            self._failures.count(address)
            raise _refused() from None
        except ProviderUnavailableError as error:
            logger.warning("a login cannot be finished: %s", error)
            self._failures.count(address)
            raise _unavailable() from error

    async def _finish(self, login: str, code: str, verifier: str, issuer: str | None) -> NewToken:
        ticket = self._open(login)
        provider, secret = await self.in_thread(lambda: self._provider(ticket))
        if logins.challenge(verifier) != ticket.challenge:
            raise _RefusedError("verifier", provider)
        found = await self._client.metadata(provider)
        if (issuer is None and found.names_itself) or issuer not in (None, provider.issuer):
            raise _RefusedError("issuer", provider)  # the answer of another provider (RFC 9207, section 2.4)
        try:
            text = await self._client.exchange(
                provider, found, secret, code=code, verifier=verifier, redirect_uri=ticket.redirect_uri
            )
            compact = jose.parse(text, logins.MAX_LENGTH)
            trusted, keys = await self._client.keys(provider, found, compact.kid)
            claims = logins.verify(compact, trusted, keys, time.time(), ticket.nonce)
        except CodeRefusedError:
            raise _RefusedError("code", provider) from None
        except InvalidTokenError as error:
            raise _RefusedError(f"id_token_{error.message}", provider) from None
        entered = await self.in_thread(lambda: self._enter(ticket, provider, claims))
        if isinstance(entered, NewToken):
            return entered
        if entered.organizations:
            names = ", ".join(entered.organizations)
            hint = "log in again with --org NAME"
            raise Problem(
                409, "which_organization", f"you are an operator of several organizations: {names}", hint=hint
            )
        # Its entry is written already.
        raise _RefusedError("", provider)

    def _enter(
        self, ticket: _Ticket, provider: LoginProviderRecord, claims: Mapping[str, Any]
    ) -> NewToken | LoginRefusal:
        """In a thread: let the person in, or record why not."""
        context = self._context
        # The token is made when this fails at its end, and whoever has logged in gets it.
        with publication.changing(context.registry, context.data, writer=context.writer, warn=_warn):
            entered = operator_logins.enter(
                context.registry,
                context.peppers,
                login=ticket.id,
                provider=provider.id,
                claims=claims,
                wanted=ticket.wanted,
            )
            if isinstance(entered, LoginRefusal):
                operator_logins.record_refusal(context.registry, provider.id, provider.name, entered)
        return entered

    def _provider(self, ticket: _Ticket) -> tuple[LoginProviderRecord, str | None]:
        """In a thread: the provider of a login, and the gateway's own secret there."""
        context = self._context
        try:
            found = login_providers.provider(context.registry, ticket.provider)
        except GatewayError as error:
            if error.code != "unknown_provider":
                raise
            raise _RefusedError("provider_removed", None) from None
        return found, login_providers.client_secret(context.registry, context.vault, found.id)

    # --- tickets ------------------------------------------------------------------------------------------------------

    def _seal(self, ticket: _Ticket) -> str:
        return self._sealer.seal(
            [
                *(ticket.id, ticket.provider, ticket.nonce, ticket.challenge),
                *(ticket.redirect_uri, ticket.wanted, ticket.expires),
            ]
        )

    def _open(self, text: str) -> _Ticket:
        try:
            identifier, provider, nonce, challenge, redirect, wanted, expires = self._sealer.open(text)
        except ValueError:
            raise _RefusedError("ticket", None) from None
        if expires <= time.time():
            raise _RefusedError("too_late", None)
        return _Ticket(
            id=identifier,
            provider=provider,
            nonce=nonce,
            challenge=challenge,
            redirect_uri=redirect,
            wanted=wanted,
            expires=expires,
        )

    async def providers(self) -> list[str]:
        """The names of the providers where people can log in."""
        return [each.name for each in await self.in_thread(lambda: login_providers.providers(self._context.registry))]

    async def in_thread(self, ask: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, ask)

    async def _record(self, provider: LoginProviderRecord | None, why: str, count: int) -> None:
        """The entry of so many logins that were refused. They stay refused if it cannot be written."""
        identifier, name = ("", "") if provider is None else (provider.id, provider.name)
        refusal = LoginRefusal(why=why)
        try:
            await self.in_thread(
                lambda: operator_logins.record_refusal(self._context.registry, identifier, name, refusal, count)
            )
        except (GatewayError, RuntimeError) as error:  # RuntimeError: the threads have ended
            logger.error("the entry of %d refused logins (%s) is lost: %s", count, why, error)


def _warn(what: str, hint: str) -> None:
    logger.warning("a login: %s: %s", what, hint)


def _named(known: list[LoginProviderRecord], name: str | None) -> LoginProviderRecord:
    """The provider of this name, or the only one."""
    if not known:
        hint = "an operator makes a token for you, or adds a provider: `gateway operators login-provider add`"
        raise Problem(404, "no_login", "nobody can log in here: the gateway has no login provider", hint=hint)
    names = [each.name for each in known]
    if name is None and len(known) > 1:
        detail = f"there are several login providers: {', '.join(names)}"
        raise Problem(409, "which_provider", detail, hint="name one with --provider")
    for each in known:
        if name in (None, each.name):
            return each
    hint = did_you_mean(name or "", names, f"there is {', '.join(names)}")
    raise Problem(404, "unknown_provider", f"unknown login provider `{(name or '')[:80]}`", hint=hint)


def _refused() -> Problem:
    hint = "log in again; if that does not help, an operator finds the reason in the audit log (operator_login.refused)"
    return Problem(401, "login_refused", "the login was refused", hint=hint)


def _unavailable() -> Problem:
    hint = "try again; an operator finds the reason in the gateway's log"
    headers = [("retry-after", "5")]
    return Problem(503, "provider_unavailable", "the login provider cannot be asked now", hint=hint, headers=headers)


PAUSE_SECONDS: Final = 10.0

Record: TypeAlias = Callable[[LoginProviderRecord | None, str, int], Awaitable[None]]


@dataclass(slots=True)
class _Kind:
    """Refused logins alike: `held` are not recorded yet, and wait until `until`, by the monotonic clock."""

    provider: LoginProviderRecord | None
    why: str
    held: int = 0
    until: float = 0.0
    recording: asyncio.Task[None] | None = None


class RefusedLogins:
    """Owned by the event loop's thread."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def add(self, provider: LoginProviderRecord | None, why: str) -> None:
        """Count a refused login. Does nothing without a reason: then its entry is written already."""
        if not why:
            return
        key = ("" if provider is None else provider.id, why)
        kind = self._kinds.setdefault(key, _Kind(provider, why))
        kind.held += 1
        if kind.recording is None or kind.recording.done():
            kind.recording = asyncio.get_running_loop().create_task(self._later(kind))

    async def close(self) -> None:
        """Record what waits."""
        for kind in self._kinds.values():
            if kind.recording is not None:
                kind.recording.cancel()
            await self._now(kind)

    async def _later(self, kind: _Kind) -> None:
        await asyncio.sleep(max(0.0, kind.until - time.monotonic()))
        await self._now(kind)

    async def _now(self, kind: _Kind) -> None:
        count, kind.held = kind.held, 0
        if count:
            kind.until = time.monotonic() + PAUSE_SECONDS
            await self._record(kind.provider, kind.why, count)
