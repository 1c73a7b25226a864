"""Grants tokens: to an agent for itself, on behalf of another agent or of a person, or on an outside issuer's word.

Every way ends in `_issue`: a token names the credentials that it came from, may do no more than they, and ends no
later. It is recorded in the audit log before it is given out. See tokens.md and persons.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gateway.a2a.cards import PROVIDER as A2A
from gateway.audit.entry import SALT_BYTES, canonical, commitment, document
from gateway.audit.errors import AuditError
from gateway.audit.intents import Changed
from gateway.audit.writer import AuditWriter
from gateway.errors import Denied, GatewayError, PrincipalHint
from gateway.identifiers import new_id
from gateway.identity import authentication, jose, persons, token_credentials, token_scope, tokens, workload
from gateway.identity.jose import Compact, InvalidTokenError
from gateway.identity.key_scope import KeyScope
from gateway.identity.persons import Person
from gateway.identity.principals import Found, Presented, Principal, Principals, refusal_of
from gateway.identity.signatures import Signed
from gateway.identity.token_credentials import Tokens
from gateway.identity.token_keys import TokenKeys
from gateway.identity.tokens import Link, Token
from gateway.identity.workload import Purpose, Workload, WorkloadIssuer
from gateway.mcp.pins import PROVIDER as MCP
from gateway.registry.port import AgentRow, Epochs, RegistryPort
from gateway.runtime.nonces import UsedNonces
from gateway.tokens.form import TYPES, Refusal, TokenRequest
from gateway.tokens.issuer_keys import IssuerKeys
from gateway.tokens.metadata import Metadata
from gateway.tokens.pace import TokenPace
from gateway.upstream import routing

_MAX_SUBJECT = 512  # characters of an outside token's subject in the log


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was given out. `kind` is its type of RFC 8693, without the prefix."""

    text: str = field(repr=False)
    kind: str
    seconds: int
    scope: str

    def document(self) -> dict[str, Any]:
        """The answer of RFC 8693, section 2.2.1."""
        return {
            "access_token": self.text,
            "issued_token_type": TYPES + self.kind,
            # A grant opens nothing: it can only be exchanged.
            "token_type": "Bearer" if self.kind == "access_token" else "N_A",
            "expires_in": self.seconds,
            "scope": self.scope,
        }


@dataclass(frozen=True, slots=True)
class Source:
    """The checked origin of a new token: the agent that will act, the chain behind it, the person, scopes and end."""

    agent: AgentRow
    organization: str
    chain: tuple[Link, ...]
    scopes: tuple[KeyScope | None, ...]
    expires: float  # seconds since 1970
    facts: Mapping[str, str] = field(default_factory=dict)  # further ones for the log
    person: Person | None = None
    resource: str = ""  # that alone, if it is said


class Lifetimes(Protocol):
    """The settings that tokens need."""

    @property
    def token_lifetime(self) -> int: ...

    @property
    def token_delegations(self) -> int: ...


class Grants:
    """Gives out the tokens of one worker."""

    def __init__(
        self,
        settings: Lifetimes,
        deployment: str,
        *,
        principals: Principals,
        tokens: Tokens,
        keys: TokenKeys,
        metadata: Metadata,
        nonces: UsedNonces,
        registry: RegistryPort,
        issuers: IssuerKeys,
        writer: AuditWriter,
    ) -> None:
        self._settings = settings
        self._deployment = deployment
        self._principals = principals
        self._tokens = tokens
        self._keys = keys
        self._metadata = metadata
        self._nonces = nonces
        self._registry = registry
        self._issuers = issuers
        self._writer = writer
        self._pace = TokenPace()

    async def give(self, request: TokenRequest, credential: Presented | None, client: str, peer: str | None) -> Issued:
        """The token for a request with this credential, which may have none. Raises `Refusal` or `Denied`.

        `client` is the agent that the client says it is, or empty.
        """
        self._check_targets(request)
        epochs = await self._registry.epochs()
        if request.grant == "client_credentials":
            if credential is None:
                raise Denied("bad_credentials", "missing")
            source = self._own(await self._authenticated(credential, request, epochs), peer)
        elif request.grant == "jwt_bearer":
            source = await self._asserted(request, credential, peer, epochs)
        else:
            source = await self._exchange(request, credential, peer, epochs)
        if client not in ("", source.agent.id, source.agent.name):
            raise Refusal("invalid_client", "the credential is not that of the client_id", 401)
        return await self._issue(source, request, epochs)

    # Sources of tokens

    async def _exchange(
        self, request: TokenRequest, credential: Presented | None, peer: str | None, epochs: Epochs
    ) -> Source:
        text, kind = request.need("subject_token"), request.type_of("subject_token")
        if kind not in ("jwt", "access_token", "id_token"):
            what = f"subject_token_type must be {TYPES}access_token, {TYPES}jwt or {TYPES}id_token"
            raise Refusal("invalid_request", what)
        actor = await self._actor(request, credential, epochs)
        outside = (kind != "access_token" or tokens.is_token(text)) and not self._own_token(text)
        if outside and actor is not None:
            return await self._for_person(text, kind, actor, peer)
        if outside and kind != "access_token":
            return await self._workload(text)
        if kind == "id_token":
            raise Refusal("invalid_request", f"a token of this gateway is {TYPES}access_token or {TYPES}jwt")
        if kind == "jwt":
            if actor is None:
                raise Denied("bad_credentials", "missing", reasons=["the agent that acts must present its credential"])
            return await self._delegated(text, actor, peer)
        subject = await self._subject(text, epochs)
        if actor is not None and actor.agent_id != subject.agent_id:
            why = "a token of its own does not let another agent act: request one with requested_actor"
            raise Refusal.bad_token("no_actor", why, _hint(actor))
        return self._own(subject, peer)

    async def _asserted(
        self, request: TokenRequest, credential: Presented | None, peer: str | None, epochs: Epochs
    ) -> Source:
        """A token on an outside issuer's word: about a program, or about the person for whom a client acts."""
        text = request.need("assertion")
        try:
            of_person = jose.parse(text).typ == persons.ASSERTION_TYPE
        except InvalidTokenError as error:
            raise Refusal.bad_token(error.message, "the token is not valid") from None
        if not of_person:
            _without(credential)
            return await self._workload(text)
        if credential is None:
            raise Denied("bad_credentials", "missing", reasons=["the client must present its credential as well"])
        return await self._for_person(
            text, persons.ASSERTION, await self._authenticated(credential, request, epochs), peer
        )

    def _own_token(self, text: str) -> bool:
        try:
            return jose.parse(text).claims.get("iss") == self._deployment
        except InvalidTokenError as error:
            raise Refusal.bad_token(error.message, "the token is not valid") from None

    async def _subject(self, text: str, epochs: Epochs) -> Principal:
        try:
            return await self._principals.get(authentication.of_text(text), epochs.authority)
        except Denied as denied:
            if denied.code != "bad_credentials":
                raise
            raise Refusal("invalid_grant", "the subject_token is not valid", 400, denied) from None

    async def _actor(self, request: TokenRequest, credential: Presented | None, epochs: Epochs) -> Principal | None:
        """The agent that will act: the one of the actor_token, or of the request's own credential."""
        text = request.get("actor_token")
        if text and credential is not None:
            raise Refusal("invalid_request", "the request has a credential and an actor_token: one of them is enough")
        if text:
            if request.type_of("actor_token") != "access_token":
                raise Refusal("invalid_request", f"actor_token_type must be {TYPES}access_token")
            credential = authentication.of_text(text)
        elif request.get("actor_token_type"):
            raise Refusal("invalid_request", "there is an actor_token_type without an actor_token")
        return None if credential is None else await self._authenticated(credential, request, epochs)

    async def _authenticated(self, credential: Presented, request: TokenRequest, epochs: Epochs) -> Principal:
        principal = await self._principals.get(credential, epochs.authority)
        if isinstance(credential, Signed):
            credential.check_body(request.body, principal)
        return principal

    def _own(self, principal: Principal, peer: str | None) -> Source:
        """A token for the agent itself, from its own credential."""
        _check_network(principal, peer)
        token = principal.token
        chain = token.chain if token else (Link(principal.agent_id, principal.key_id),)
        return Source(
            AgentRow(principal.agent_id, principal.name, principal.status),
            principal.organization,
            chain,
            (principal.scope,),
            _ends(principal),
            person=token.person if token else None,
        )

    async def _delegated(self, text: str, actor: Principal, peer: str | None) -> Source:
        """A token for an agent to act for another one, which has named it."""
        hint = _hint(actor)
        try:
            grant = self._tokens.verified(token_credentials.presented(text))
        except Denied as denied:
            raise Refusal.bad_token(
                denied.detail.removeprefix("token_"), "the subject_token is not valid", hint
            ) from None
        if grant.expires <= time.time():
            raise Refusal.bad_token("expired", "the subject_token has expired", hint)
        if grant.actor != actor.agent_id:
            why = "the subject_token names no actor: request one with requested_actor"
            raise Refusal.bad_token("actor", "the subject_token names another actor" if grant.actor else why, hint)
        _check_for_itself(actor)
        found = await self._tokens.living(grant)
        if found is None or refusal_of(found) is not None:
            raise Refusal.bad_token("delegator_dead", "the subject_token is not valid any more", hint)
        if found.row.organization != actor.organization:
            raise Refusal.bad_token("organization", "the subject_token is not valid", hint)
        own = self._own(actor, peer)
        return Source(
            own.agent,
            own.organization,
            (*grant.chain, own.chain[-1]),
            (grant.scope, actor.scope),
            min(own.expires, grant.expires),
            {"grant": grant.id},
            grant.person,
        )

    async def _for_person(self, text: str, kind: str, actor: Principal, peer: str | None) -> Source:
        """A token for an agent to act for the person that an outside issuer's token names."""
        _check_for_itself(actor)
        try:
            compact = jose.parse(text)
            issuer = await self._issuer_of(compact, "persons", actor.organization)
            keys = await self._keys_of(issuer, compact)
            found = persons.verify(compact, issuer, keys, time.time(), kind)
            rule = persons.right_of(await self._registry.issuer_rules(issuer.id), actor.agent_id, found.claims)
            person = Person(rule.id, found.claims["sub"], persons.chosen(issuer.claims, found.claims))
            resource, scopes = "", tuple[KeyScope, ...]()
            if kind == persons.ASSERTION:
                resource, scopes = await self._used_up(found, issuer, actor)
        except InvalidTokenError as error:
            why = _TEXTS.get(error.message, "the token is not valid")
            raise Refusal.bad_token(error.message, why, _hint(actor)) from None
        own = self._own(actor, peer)
        facts = {"issuer": issuer.id, "issuer_name": issuer.name}
        ends = min(own.expires, found.expires)
        return replace(own, expires=ends, facts=facts, person=person, resource=resource, scopes=(*own.scopes, *scopes))

    async def _used_up(
        self, found: Workload, issuer: WorkloadIssuer, actor: Principal
    ) -> tuple[str, tuple[KeyScope, ...]]:
        """What an assertion is for: a resource and a scope. It is used up by this; raises `InvalidTokenError`."""
        identifier = persons.once(found.claims, (actor.agent_id, actor.name))
        resource, wanted = persons.resource(found.claims), found.claims.get("scope", "")
        if not isinstance(wanted, str):
            raise InvalidTokenError("claims")
        try:
            scopes = (token_scope.parse(wanted),) if wanted else ()
        except GatewayError:
            raise InvalidTokenError("claims") from None
        if not await self._nonces.use(issuer.id, identifier, found.expires):
            raise InvalidTokenError("used")
        return resource, scopes

    async def _issuer_of(self, compact: Compact, purpose: Purpose, organization: str | None = None) -> WorkloadIssuer:
        """The registered issuer that a token names; raises `InvalidTokenError`, also if it is for the other purpose.

        The registry lets no two have the same issuer and audience; a token for several audiences may name two. Those of
        another `organization` than the actor's are unknown, so that none can stand in the way.
        """
        registered = await self._registry.issuers(workload.issuer_of(compact))
        mine = [each for each in registered if organization in (None, each.organization)]
        found = [each for each in mine if workload.for_audience(compact, each.audience)]
        if len(found) != 1:
            raise InvalidTokenError("audience" if found else "unknown_issuer")
        if found[0].purpose != purpose:
            raise InvalidTokenError("workload" if purpose == "persons" else "person")
        return found[0]

    async def _keys_of(self, issuer: workload.WorkloadIssuer, compact: jose.Compact) -> tuple[jose.Key, ...]:
        try:
            return await self._issuers.of(issuer, compact.kid)
        except Denied as denied:
            why = "the keys of the token's issuer cannot be fetched: try again"
            raise Refusal("temporarily_unavailable", why, denied.reason.status, denied) from None

    async def _workload(self, text: str) -> Source:
        """A token for the agent that an outside issuer's token is, by the rules of its organization."""
        try:
            compact = jose.parse(text)
            issuer = await self._issuer_of(compact, "workloads")
            keys = await self._keys_of(issuer, compact)
            found = workload.verify(compact, issuer, keys, time.time())
            rule = workload.matching(await self._registry.issuer_rules(issuer.id), found.claims)
        except InvalidTokenError as error:
            raise Refusal.bad_token(error.message, _TEXTS.get(error.message, "the token is not valid")) from None
        row = await self._registry.holder(rule.id)
        denied = None if row is None else refusal_of(Found(row, None))
        if row is None or denied is not None:
            hint = None if denied is None else denied.principal_hint
            raise Refusal.bad_token("agent_dead", "the agent of this token is not active", hint)
        facts = {
            "issuer": issuer.id,
            "issuer_name": issuer.name,
            "outside_subject": str(found.claims["sub"])[:_MAX_SUBJECT],
        }
        agent = AgentRow(row.agent_id, row.name, row.status)
        return Source(agent, row.organization, (Link(row.agent_id, rule.id),), (), found.expires, facts)

    # Issuing

    async def _issue(self, source: Source, request: TokenRequest, epochs: Epochs) -> Issued:
        wanted = request.get("scope")
        scopes = (*source.scopes, await self._resource(source, request))
        try:
            scope = token_scope.narrowed(scopes, token_scope.parse(wanted) if wanted else None)
        except GatewayError as error:
            raise Refusal("invalid_scope", error.message) from None
        if not token_scope.fits(scope):
            raise Refusal("invalid_scope", "the scope of the credential is too long for a token: ask for a part of it")
        actor = await self._named(source, request)
        now = int(time.time())
        expires = int(min(now + self._settings.token_lifetime, source.expires))
        if expires <= now:
            raise Refusal.bad_token("expired", "what the token would come from has expired")
        token = Token(new_id("tok"), source.chain, scope, now, expires, actor, source.person)
        try:
            text = tokens.issue(token, self._deployment, self._keys)
        except GatewayError as error:
            raise Denied("registry_unavailable", error.message) from error
        if len(text) > authentication.MAX_TOKEN:
            raise Refusal("invalid_scope", "the token would be too long: ask for a shorter scope")
        self._check_pace(source)
        await self._record(token, source, epochs)
        return Issued(text, "jwt" if actor else "access_token", expires - now, token_scope.text(scope))

    async def _resource(self, source: Source, request: TokenRequest) -> KeyScope | None:
        """What the token is to open (RFC 8707); None if that is all that its agent may call."""
        wanted = request.get("resource") or source.resource
        if not wanted:
            return None
        if source.resource not in ("", wanted):
            what = "the assertion is for another resource"
            raise Refusal("invalid_target", what, denied=Denied("bad_request", principal_hint=_of_source(source)))
        path = self._metadata.resource(wanted)
        if path == "":
            return None
        scope = None if path is None else routing.resource(path)
        upstreams = scope.upstreams if scope is not None else ()
        known = [
            each
            for each in await self._registry.upstreams()
            if (each.provider == MCP and each.organization == source.organization and upstreams in ((), (each.name,)))
            or (each.provider == A2A and upstreams == (f"{each.organization}/{each.name}",))
        ]
        if not known or scope is None:
            what = "the resource is none of this gateway's: it must be the URL of an MCP server or an agent here"
            raise Refusal("invalid_target", what, denied=Denied("bad_request", principal_hint=_of_source(source)))
        return scope

    def _check_pace(self, source: Source) -> None:
        seconds = self._pace.wait(source.agent.id)
        if seconds:
            hint = _of_source(source)
            headers = [(b"retry-after", b"%d" % seconds)]
            denied = Denied("limit_exceeded", "tokens", headers=headers, principal_hint=hint)
            raise Refusal("slow_down", "this agent has got very many tokens in this minute", 429, denied)

    async def _named(self, source: Source, request: TokenRequest) -> str | None:
        """The agent that is to act, if the request names one. It must be another one of the same organization."""
        reference = request.get("requested_actor")
        if not reference:
            return None
        # The agents that would act for another one, with the one that is named.
        if len(source.chain) > self._settings.token_delegations:
            most = self._settings.token_delegations
            what = f"at most {most} delegations may follow each other here" if most else "delegation is switched off"
            raise Refusal("invalid_request", what)
        found = await self._registry.agent(source.organization, reference)
        if found is None or found.status != "active":
            raise Refusal("invalid_request", "requested_actor is no active agent of this organization")
        if found.id in [link.agent for link in source.chain]:
            raise Refusal("invalid_request", "requested_actor is in the chain already")
        return found.id

    def _check_targets(self, request: TokenRequest) -> None:
        """Refuse a request for a token that is to open something else."""
        if request.get("audience") not in ("", f"{self._deployment}/data"):
            raise Refusal("invalid_target", f"tokens of this gateway are for {self._deployment}/data only")
        wanted = request.get("requested_token_type").removeprefix(TYPES)
        possible = ("jwt",) if request.get("requested_actor") else ("access_token",)
        if wanted not in ("", *possible):
            raise Refusal("invalid_request", f"requested_token_type can only be {TYPES}{possible[0]}")

    async def _record(self, token: Token, source: Source, epochs: Epochs) -> None:
        """Have the log tell who was given which token, before anybody has it."""
        fields: dict[str, str | int | bool | None] = {
            "token": token.id,
            "agent": source.agent.id,
            "agent_name": source.agent.name,
            "key": token.chain[-1].credential,
            "scope": token_scope.text(token.scope),
            "expires_ns": str(token.expires * 10**9),
            **source.facts,
        }
        if len(token.chain) > 1:
            fields["delegation_json"] = document([link._asdict() for link in token.chain[:-1]])
        if token.actor is not None:
            fields["for_agent"] = token.actor
        private = salt = None
        if token.person is not None:
            # The person's subject stands beside the log, so that it can be erased.
            subject, salt = token.person.subject, os.urandom(SALT_BYTES)
            private = canonical({"person": subject})
            fields["person_right"] = token.person.right
            fields["person_commitment"] = commitment(salt, "person", subject.encode())
        change = Changed(
            organization=source.organization,
            event_id=new_id("chg"),
            actor=f"agent:{source.agent.id}",
            what="token.issued" if token.actor is None else "delegation.granted",
            epoch=epochs.value,
            fields=fields,
            private=private,
            salt=salt,
        )
        try:
            await self._writer.write(change)
        except AuditError as error:
            raise Denied("audit_unavailable", str(error)) from error


_TEXTS = {
    "unknown_issuer": "no issuer is registered for the token's iss and aud",
    "audience": "the token's audiences mean several issuers",
    "expired": "the token has expired",
    "not_yet_valid": "the token is not valid yet",
    "unknown_key": (
        "the gateway does not have the key of the issuer that signed the token: new keys are fetched within a minute, "
        "those from a file only by an operator"
    ),
    "no_rule": "no rule makes the token's claims an agent",
    "several_agents": "the token's claims meet rules of several agents",
    "person": "the token is a person's: the agent that acts for that person must present its credential",
    "workload": "the token is a program's and stands for a credential: it is exchanged without another one",
    "no_person": "the token is not a person's: its subject is the program that it was given to",
    "kind": "the issuer is registered for tokens of another subject_token_type",
    "too_old": "the token was issued too long ago",
    "client": "the assertion was made for another client: its client_id must be the agent's name or id",
    "used": "the assertion was used already",
    "party": "the token was made for another application (azp)",
    "no_right": "no rule lets this agent act for the person",
    "claim_value": "a claim that is to be kept is neither a text, a whole number, true, false nor a list of texts",
    "claims_too_long": "the claims that are to be kept are too long",
}
"""Texts for the client. They help an operator who sets this up, and say nothing that a token's holder does not know."""


def _ends(principal: Principal) -> float:
    ends = [end for end in (principal.expires_ns, principal.agent_expires_ns) if end is not None]
    return min(ends) / 1e9 if ends else float("inf")


def _of_source(source: Source) -> PrincipalHint:
    last = source.chain[-1]
    return PrincipalHint(source.organization, last.agent, last.credential)


def _hint(principal: Principal) -> PrincipalHint:
    return PrincipalHint.of(principal)


def _check_for_itself(actor: Principal) -> None:
    """An agent begins to act for somebody with a credential of its own, not with one for somebody else."""
    token = actor.token
    if token is not None and (len(token.chain) > 1 or token.person is not None):
        why = "the actor must present a credential of its own, not another's behalf"
        raise Refusal.bad_token("actor", why, _hint(actor))


def _without(credential: Presented | None) -> None:
    if credential is not None:
        what = "an outside issuer's token stands for a credential: the request must not have another"
        raise Refusal("invalid_request", what)


def _check_network(principal: Principal, peer: str | None) -> None:
    """A key that is for certain networks makes no token outside of them."""
    if principal.scope is not None and principal.scope.networks:
        outside = KeyScope(networks=principal.scope.networks).outside("", (), peer)
        if outside:
            raise Refusal("unauthorized_client", outside, 403, Denied("key_scope", principal_hint=_hint(principal)))
