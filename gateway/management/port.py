"""What commands ask of a gateway, whichever it is: the one of a data directory, or one behind its control API.

`directory/` and `remote/` have an implementation each; both answer with the same records and raise the same
`GatewayError`s. A change that answers None has found everything as it was to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gateway.control.permission_records import AskedCall, Permission
    from gateway.dataplane.key_uses import Uses
    from gateway.dataplane.legacy_clients import Client
    from gateway.identity.key_scope import KeyScope
    from gateway.identity.message_signatures import PublicKey
    from gateway.identity.standing import Standing
    from gateway.identity.token_keys import TokenKeyState
    from gateway.management.fleet_port import Fleet
    from gateway.registry.adoptions import AdoptionRecord, Started
    from gateway.registry.agent_updates import AgentUpdate
    from gateway.registry.as_of import AgentAt
    from gateway.registry.issuers import IssuerRecord, PersonTokens, RuleRecord
    from gateway.registry.key_rotation import Rotated, Skipped, Terms
    from gateway.registry.limit_states import LimitState
    from gateway.registry.login_providers import LoginProviderRecord, LoginRuleRecord
    from gateway.registry.records import (
        AgentRecord,
        AgentVersionRecord,
        BindingRecord,
        Effect,
        KeyRecord,
        LimitRecord,
        NewKey,
        NewToken,
        OperatorRecord,
        OperatorTokenRecord,
        OperatorVersionRecord,
        OrganizationRecord,
        OrganizationVersionRecord,
        RouteRecord,
        StopRecord,
        SubjectKind,
        TeamRecord,
        UpstreamRecord,
        WebhookRecord,
    )
    from gateway.registry.token_keys import Rotation
    from gateway.registry.upstream_routes import NewMember
    from gateway.upstream.operations import UpstreamOperation
    from gateway.usage.price_documents import NamedPrice, PricedProvider
    from gateway.webhooks.deliveries import State
    from gateway.webhooks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """An agent to register."""

    name: str
    owner: str = ""
    team: str = ""
    environment: str = "dev"
    capabilities: Sequence[str] = ()
    labels: dict[str, str] = field(default_factory=dict)
    description: str = ""
    purpose: str = ""
    model_family: str = ""
    parent: str | None = None
    expires_ns: int | None = None
    review_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The activation that was in force at a time."""

    id: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """An agent with all that belonged to it at a time. `uses` is known of now only."""

    found: AgentAt
    versions: list[AgentVersionRecord]
    parent_name: str
    activation: InForce | None
    uses: Uses


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBinding:
    """A bundle, and whom it judges."""

    kind: SubjectKind
    subject: str
    bundle: str
    effect: Effect
    pinned: str | None
    without_members: bool
    shadow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitName:
    """Which limit of whom."""

    kind: SubjectKind
    subject: str
    name: str
    upstream: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """Whose a new key is, how long it works, and what it is for; None: for ever, and for everything."""

    agent: str
    lifetime_ns: int | None = None
    scope: KeyScope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperatorToken:
    """Whose a new token is, how long it works, and what it is for; None: for ever, and for everything."""

    operator: str
    lifetime_ns: int | None = None
    scopes: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationUpdate:
    """What to change of an organization; None leaves a member as it is, and 0 days are for never.

    `suspend_now` says that agents may be suspended at once, which nobody has reviewed in time.
    """

    review_days: int | None = None
    suspend_after_days: int | None = None
    zone: str | None = None
    suspend_now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Calls that are asked about: all combinations of these. Without an action a chat is meant."""

    models: Sequence[str]
    actions: Sequence[str] | None = None
    tools: Sequence[str] | None = None
    upstream: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionsAt:
    """The answer: for every agent and every call, by agent and then by call; `call` of each counts in `calls`."""

    at_ns: int
    activation: InForce | None
    calls: list[AskedCall]
    permissions: list[Permission]
    not_considered: Sequence[str]


class Agents(Protocol):
    """Agents of an organization, each named by its name or id."""

    def register(self, organization: str, new: NewAgent, reason: str) -> AgentRecord: ...

    def listed(
        self, organization: str, at_ns: int | None, limit: int | None, after: str | None
    ) -> tuple[Sequence[AgentRecord], bool]:
        """All by name; or with `limit` or `after` a page, the oldest first. And whether there are more."""

    def overview(self, organization: str, agent: str, at_ns: int | None) -> Overview: ...

    def versions(self, organization: str, agent: str) -> list[AgentVersionRecord]: ...

    def update(self, organization: str, agent: str, update: AgentUpdate, reason: str) -> AgentRecord | None: ...

    def review(self, organization: str, agent: str, reason: str) -> AgentRecord: ...

    def suspend(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...

    def resume(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...

    def revoke(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...

    def retire(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...


class Keys(Protocol):
    """Keys of agents: secrets, public keys and SPIFFE IDs. One is named by its id or the beginning of its text."""

    def create(self, organization: str, new: NewCredential, reason: str) -> NewKey: ...

    def add_public(self, organization: str, key: PublicKey, new: NewCredential, reason: str) -> KeyRecord: ...

    def add_spiffe(self, organization: str, spiffe_id: str, new: NewCredential, reason: str) -> KeyRecord: ...

    def listed(self, organization: str, agent: str | None) -> tuple[list[KeyRecord], Uses]: ...

    def rotate(
        self,
        organization: str,
        key: str | None,
        agent: str | None,
        terms: Terms,
        deliver: Callable[[Sequence[Rotated]], None],
    ) -> Rotated:
        """Replace this key, or the one that this agent has. `deliver` takes the new key to where it is kept."""

    def rotate_many(
        self, organization: str, team: str | None, terms: Terms, deliver: Callable[[Sequence[Rotated]], None]
    ) -> tuple[list[Rotated], list[Skipped]]:
        """Replace the keys of a team's agents, or of all (None); and those that cannot be replaced, with the reason.

        `deliver` takes new keys to where they are kept, once or several times.
        """

    def revoke(self, organization: str, key: str, reason: str) -> KeyRecord | None: ...


class Teams(Protocol):
    """Teams of an organization, each named by its name."""

    def create(self, organization: str, name: str, owner: str, description: str, reason: str) -> TeamRecord: ...

    def update(
        self, organization: str, team: str, owner: str | None, description: str | None, reason: str
    ) -> TeamRecord | None: ...

    def listed(self, organization: str) -> list[TeamRecord]:
        """With their agents and bundles, by name."""

    def briefly(self, organization: str) -> list[TeamRecord]:
        """Without their agents and bundles, by name."""

    def show(self, organization: str, team: str) -> TeamRecord: ...

    def suspend(self, organization: str, team: str, reason: str) -> TeamRecord | None: ...

    def resume(self, organization: str, team: str, reason: str) -> TeamRecord | None: ...

    def revoke(self, organization: str, team: str, reason: str) -> TeamRecord | None: ...


class Bindings(Protocol):
    """Which bundles judge whom."""

    def bind(self, organization: str, new: NewBinding, *, other_effect: bool, reason: str) -> BindingRecord: ...

    def unbind(
        self, organization: str, kind: SubjectKind, subject: str, bundle: str, *, shadow: bool, reason: str
    ) -> BindingRecord: ...

    def listed(self, organization: str, agent: str | None) -> list[BindingRecord]: ...

    def missing_step(self, bundle: str) -> str:
        """What is to be done for a bundle that is not in force; empty if that is not known."""


class Limits(Protocol):
    """Limits that operators set."""

    def set(
        self, organization: str, limit: LimitName, value: int, *, without_members: bool, reason: str
    ) -> LimitRecord: ...

    def raise_(self, organization: str, limit: LimitName, value: int, for_ns: int, reason: str) -> LimitRecord: ...

    def remove(self, organization: str, limit: LimitName, reason: str) -> LimitRecord: ...

    def listed(self, organization: str) -> list[LimitRecord]: ...

    def state(self, limit: LimitRecord) -> LimitState: ...

    def states(self, organization: str, kind: SubjectKind, subject: str) -> list[LimitState]:
        """Of all limits that hold a subject back."""


class Stops(Protocol):
    """Emergency stops: of an organization, or of all (None)."""

    def begin(self, organization: str | None, reason: str) -> tuple[StopRecord, bool]:
        """The stop, and whether it has begun now."""

    def end(self, organization: str | None, reason: str) -> StopRecord | None: ...

    def in_force(self) -> list[StopRecord]: ...


class Organizations(Protocol):
    """Organizations, each named by its name."""

    def create(self, name: str, reason: str) -> str:
        """The id of the new one."""

    def listed(self) -> list[OrganizationRecord]: ...

    def show(self, name: str) -> OrganizationRecord: ...

    def versions(self, name: str) -> list[OrganizationVersionRecord]: ...

    def standing(self, organization: str, team: str) -> Standing:
        """What decides over the agents of a team (or of none: empty), beside their own states."""

    def update(self, name: str, update: OrganizationUpdate, reason: str) -> OrganizationRecord | None: ...

    def suspend(self, name: str, reason: str) -> OrganizationRecord | None: ...

    def resume(self, name: str, reason: str) -> OrganizationRecord | None: ...

    def revoke(self, name: str, reason: str) -> OrganizationRecord | None: ...


class Operators(Protocol):
    """Who may use the control API: operators of an organization or of the whole gateway (None), by name or id."""

    def add(self, organization: str | None, name: str, role: str, reason: str) -> OperatorRecord: ...

    def listed(self, organization: str | None) -> list[OperatorRecord]:
        """By name; without an organization all that may be seen, also those of organizations."""

    def show(self, organization: str | None, operator: str) -> OperatorRecord: ...

    def versions(self, organization: str | None, operator: str) -> list[OperatorVersionRecord]: ...

    def update(self, organization: str | None, operator: str, role: str, reason: str) -> OperatorRecord | None: ...

    def revoke(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None: ...

    def readmit(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None:
        """Let the person of a revoked operator log in again; None if no login is barred by it."""

    def tokens(self, organization: str | None, operator: str) -> list[OperatorTokenRecord]: ...

    def create_token(self, organization: str | None, new: NewOperatorToken, reason: str) -> NewToken: ...

    def revoke_token(self, organization: str | None, token: str, reason: str) -> OperatorTokenRecord | None:
        """End a token, named by its id or the beginning of its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLoginProvider:
    """A provider where operators log in. With a secret the gateway is a confidential client there."""

    name: str
    issuer: str
    client_id: str
    secret: str | None = field(default=None, repr=False)
    scopes: Sequence[str] = ()
    session_seconds: int
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginProviderUpdate:
    """What to change of a login provider; None leaves a member as it is. `public` forgets the secret."""

    client_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    public: bool = False
    scopes: Sequence[str] | None = None
    session_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLoginRule:
    """Whom a provider lets in: operators with this role, of an organization or of the whole gateway (None)."""

    provider: str
    claims: dict[str, str]
    role: str
    organization: str | None = None


class Logins(Protocol):
    """Where operators log in, and who is let in. A provider is named by its name or id, a rule by its id."""

    def add(self, new: NewLoginProvider, reason: str) -> LoginProviderRecord: ...

    def listed(self) -> list[LoginProviderRecord]:
        """By name."""

    def show(self, provider: str) -> LoginProviderRecord: ...

    def update(self, provider: str, update: LoginProviderUpdate, reason: str) -> LoginProviderRecord: ...

    def remove(self, provider: str, reason: str) -> tuple[LoginProviderRecord, int]:
        """And how many tokens of its logins ended with it."""

    def rules(self, provider: str | None) -> list[LoginRuleRecord]:
        """Of a provider, or of all, by their providers."""

    def add_rule(self, new: NewLoginRule, reason: str) -> LoginRuleRecord: ...

    def remove_rule(self, rule: str, reason: str) -> tuple[LoginRuleRecord, int]:
        """And how many tokens of logins ended with it."""


class Permissions(Protocol):
    """Who could make a call."""

    def asked(self, organization: str, agent: str | None, question: Question, at_ns: int | None) -> PermissionsAt:
        """What the policies say of one agent, or of all (None), now or at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpstream:
    """An upstream with its secret. `openapi` is the document of a JSON API, as it was read."""

    name: str
    provider: str
    base_url: str
    secret: str | None = field(repr=False)
    default: bool = False
    insecure: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    openapi: dict[str, Any] | None = None


class Upstreams(Protocol):
    """Upstreams of an organization, each named by its name."""

    def add(self, organization: str, new: NewUpstream, *, replace: bool, reason: str) -> UpstreamRecord: ...

    def listed(self, organization: str) -> list[UpstreamRecord]:
        """By name, without the operations of JSON APIs."""

    def operations(self, organization: str, upstream: str) -> list[UpstreamOperation]: ...

    def remove(self, organization: str, upstream: str, reason: str) -> UpstreamRecord: ...


class Routes(Protocol):
    """Several upstreams under one name."""

    def set(
        self, organization: str, route: str, members: Sequence[NewMember], default: bool | None, reason: str
    ) -> RouteRecord: ...

    def listed(self, organization: str) -> list[RouteRecord]:
        """By name."""

    def remove(self, organization: str, route: str, reason: str) -> RouteRecord: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIssuer:
    """An issuer to trust. Its keys are at `jwks_url`, in `jwks`, or it is asked where they are."""

    name: str
    issuer: str
    audience: str
    jwks_url: str = ""
    jwks: str = ""
    insecure: bool = False
    persons: PersonTokens | None = None


class Issuers(Protocol):
    """Outside issuers of an organization, each named by its name, and their rules."""

    def add(self, organization: str, new: NewIssuer) -> IssuerRecord: ...

    def listed(self, organization: str) -> list[IssuerRecord]:
        """With their rules, by name."""

    def remove(self, organization: str, issuer: str) -> IssuerRecord: ...

    def add_rule(self, organization: str, issuer: str, claims: dict[str, str], agent: str) -> RuleRecord: ...

    def remove_rule(self, organization: str, rule: str) -> RuleRecord: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook whose URL and events were checked. Without a secret one is made."""

    url: str
    events: Sequence[str]
    secret: str | None = field(default=None, repr=False)
    insecure: bool = False
    allow_private: bool = False


class Webhooks(Protocol):
    """Webhooks of an organization, each named by its id, the beginning of it, or its URL."""

    def add(self, organization: str, new: NewWebhook) -> tuple[WebhookRecord, str | None]:
        """And the secret, if one was made."""

    def listed(self, organization: str) -> list[tuple[WebhookRecord, State]]:
        """With how they fare, the oldest first."""

    def remove(self, organization: str, webhook: str) -> WebhookRecord: ...

    def try_out(self, organization: str, webhook: str) -> Trial: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdoption:
    """Old keys that are to pass until a time. `owner` is of the agent that the first one registers."""

    upstream: str
    keys: Sequence[str] = field(repr=False)
    expires_ns: int
    owner: str = ""


class Adoptions(Protocol):
    """Old keys of providers that pass for a while, and the programs that still use them."""

    def start(self, organization: str, new: NewAdoption, reason: str) -> Started: ...

    def listed(self, organization: str) -> list[AdoptionRecord]:
        """Also those that have ended, the oldest first."""

    def clients(self, organization: str, address: str | None) -> Sequence[Client]:
        """All that were seen, or those at an address, also those that have moved."""

    def stop(self, organization: str, upstream: str | None, reason: str) -> list[AdoptionRecord]:
        """Of one upstream, or all (None)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPrices:
    """The models of a provider with their prices, by a version of the table; it has those of others (`also`), too."""

    version: str
    also: Sequence[str]
    prices: list[NamedPrice]


class Prices(Protocol):
    """What models cost."""

    def providers(self) -> tuple[str, list[PricedProvider]]:
        """The version of the table, and its providers by name."""

    def of_provider(self, provider: str) -> ProviderPrices: ...

    def of_model(self, organization: str, model: str, upstream: str | None, at_ns: int | None) -> list[NamedPrice]:
        """At each upstream of an organization, or at one; now (None) or at a time."""


class TokenKeys(Protocol):
    """The keys that sign the gateway's own tokens."""

    def listed(self) -> Sequence[TokenKeyState]:
        """Newest first."""

    def rotate(self, at_once: bool, reason: str) -> Rotation: ...


class Gateway(Protocol):
    """All of it."""

    @property
    def agents(self) -> Agents: ...

    @property
    def keys(self) -> Keys: ...

    @property
    def teams(self) -> Teams: ...

    @property
    def bindings(self) -> Bindings: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def stops(self) -> Stops: ...

    @property
    def organizations(self) -> Organizations: ...

    @property
    def operators(self) -> Operators: ...

    @property
    def logins(self) -> Logins: ...

    @property
    def permissions(self) -> Permissions: ...

    @property
    def upstreams(self) -> Upstreams: ...

    @property
    def routes(self) -> Routes: ...

    @property
    def issuers(self) -> Issuers: ...

    @property
    def webhooks(self) -> Webhooks: ...

    @property
    def adoptions(self) -> Adoptions: ...

    @property
    def prices(self) -> Prices: ...

    @property
    def token_keys(self) -> TokenKeys: ...

    @property
    def fleet(self) -> Fleet: ...
