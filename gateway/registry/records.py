"""The results of queries and changes: plain frozen data without the ORM and without secrets.

The field names are those of the command line's `--json` output. Times are nanoseconds since 1970.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from gateway.identity.credentials import Method
from gateway.identity.operator_roles import Role
from gateway.registry.agents.fields import AgentTexts
from gateway.registry.agents.states import ENDED

_R = TypeVar("_R")
SubjectKind = Literal["agent", "team", "organization"]
Effect = Literal["grant", "guard", "receive"]


def copied(kind: type[_R], row: object, /, **more: Any) -> _R:
    """A record, or another row, of what a row has: its members are the columns of their names, unless `more` has them.

    A member that is in neither has its default.
    """
    every: Any = kind
    there = {name: getattr(row, name) for name in _members(every) if name not in more and hasattr(row, name)}
    return kind(**there, **more)


@functools.cache
def _members(kind: Any) -> tuple[str, ...]:
    """The members of a record, of a row of a worker, or of a table."""
    if dataclasses.is_dataclass(kind):
        return tuple(each.name for each in dataclasses.fields(kind))
    return tuple(getattr(kind, "_fields", ()) or getattr(kind, "model_fields", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRecord:
    """A tenant, with the number of its agents that have not ended."""

    id: str
    name: str
    status: str
    # Within how many days the owner of each agent must confirm it.
    review_days: int | None
    # The days after its review was due until an agent is suspended.
    suspend_after_days: int | None
    # The time zone in which its days and months begin.
    zone: str
    version: int
    agents: int
    created_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationVersionRecord:
    """An organization from `since_ns` on, with the actor and the reason."""

    version: int
    status: str
    review_days: int | None
    suspend_after_days: int | None
    zone: str
    actor: str
    reason: str
    since_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRecord:
    """An emergency stop of an organization, or of all (None). `ended_ns` is None while it is in force."""

    id: str
    organization: str | None
    reason: str
    actor: str
    created_ns: int
    ended_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRecord:
    """A team: the agents that name it and have not ended, and the bundles bound to it."""

    id: str
    name: str
    organization: str
    status: str
    owner: str
    description: str
    version: int
    created_ns: int
    agents: list[str]
    bundles: list[str]


@dataclass(frozen=True, kw_only=True)
class _NamedAgent:
    """The first members of an agent: documents have the members of a record in their order."""

    id: str
    organization: str
    name: str
    version: int
    status: str
    owner: str
    team: str
    environment: str
    capabilities: list[str]
    labels: dict[str, str]
    since_ns: int
    # `days` and `redact`, if its content is kept.
    content: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class AgentRecord(AgentTexts, _NamedAgent):
    """An agent in its present version or an earlier one, which began at `since_ns`."""

    # The id of the agent that it works for or was made by.
    parent: str | None = None
    expires_ns: int | None = None
    # Within how many days its owner must confirm it, if not as often as the organization says; and when it was.
    review_days: int | None = None
    reviewed_ns: int | None = None
    # From then on it is suspended, unless it is reviewed before. None where no rule says so.
    suspends_ns: int | None = None

    def unconfirmed(self, now_ns: int) -> bool:
        """True if its review is so late that it is suspended, and cannot be resumed before it is reviewed."""
        return self.suspends_ns is not None and self.suspends_ns <= now_ns

    def expired(self, now_ns: int) -> bool:
        return self.expires_ns is not None and self.expires_ns <= now_ns

    def state(self, now_ns: int) -> str:
        """Its status as people see it: an agent that could do something, but has expired, cannot."""
        return "expired" if self.status not in ENDED and self.expired(now_ns) else self.status


@dataclass(frozen=True, kw_only=True)
class AgentVersionRecord(AgentRecord):
    """A version of an agent, with who made it and why; `reason` is empty if nobody said."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key without its secret. `key_id` is the public part of its text, a public key's thumbprint, or a SPIFFE ID.

    For an adopted key of a provider it says whose it is.

    `scope` has the parts that restrict it (`actions`, `models`, `networks`, `upstreams`); None if it is for all that
    its agent may do. `replaced_by` is the id of the key that a rotation made in its place.
    """

    id: str
    key_id: str
    organization: str
    agent: str
    agent_id: str
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None
    scope: dict[str, list[str]] | None = None
    replaced_by: str | None = None
    method: Method = "api_key"
    # Its creator; None if that was before this was kept beside the log.
    actor: str | None = None

    def status(self, now_ns: int) -> str:
        """`active`, `retiring` (it works until it expires, and another has taken its place), `expired` or `revoked`."""
        if self.revoked_ns is not None and self.revoked_ns <= now_ns:
            return "revoked"
        if self.expires_ns is not None and self.expires_ns <= now_ns:
            return "expired"
        return "active" if self.replaced_by is None else "retiring"

    @property
    def shown_id(self) -> str:
        """`key_id`, with a sign that a secret follows, where one does."""
        return f"{self.key_id}…" if self.method == "api_key" else self.key_id

    def works(self, now_ns: int) -> bool:
        return self.status(now_ns) in ("active", "retiring")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just created. `text` is shown once and stored nowhere."""

    record: KeyRecord
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecord:
    """A user of the control API; `organization` is None for an operator of the whole gateway.

    `issuer` and `subject` say who logs in as this operator; None if tokens are made for it.
    """

    id: str
    organization: str | None
    name: str
    role: Role
    status: str
    version: int
    created_ns: int
    since_ns: int
    issuer: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorVersionRecord:
    """An operator from `since_ns` on, with the actor; `reason` is empty if nobody said."""

    version: int
    role: Role
    status: str
    actor: str
    reason: str
    since_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTokenRecord:
    """A token without its secret. `token_id` is the public part of its text, `scopes` None for all its operator may.

    `login_rule` is the rule by which a login gave it; None if it was made for its operator. `kind` says who holds it: a
    program ("token"), the command line after a login ("login"), or a person's browser ("browser").
    """

    id: str
    token_id: str
    organization: str | None
    operator: str
    operator_id: str
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None
    scopes: list[str] | None
    actor: str
    login_rule: str | None = None
    kind: str = "token"

    def status(self, now_ns: int) -> str:
        if self.revoked_ns is not None and self.revoked_ns <= now_ns:
            return "revoked"
        return "expired" if self.expires_ns is not None and self.expires_ns <= now_ns else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was just created. `text` is shown once and stored nowhere."""

    record: OperatorTokenRecord
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingRecord:
    """`subject` is a name (of an agent, a team or the organization itself), `pinned` a commit.

    `agents` are the names of those it applies to now and that have not ended; empty in what is told of an earlier time.
    """

    id: str
    organization: str
    subject_kind: SubjectKind
    subject: str
    bundle: str
    effect: Effect
    pinned: str | None
    created_ns: int
    # It is asked and recorded, and does not count.
    shadow: bool = False
    # Its maker, and the reason; None if that was before this was kept beside the log.
    actor: str | None = None
    reason: str | None = None
    agents: list[str] = field(default_factory=list)

    @property
    def named(self) -> str:
        """The subject as commands name it."""
        return {"agent": "", "team": "team:", "organization": "org:"}[self.subject_kind] + self.subject

    @property
    def counts_as(self) -> str:
        """Its effect, as lists show it."""
        return f"shadow {self.effect}" if self.shadow else self.effect


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRecord:
    """A limit in force. `subject` is a name; `subject_id` is what its balance is kept under.

    `raised` is what it is until `raised_until_ns`, for a `reason`; None if it is not raised.
    """

    id: str
    organization: str
    subject_kind: SubjectKind
    subject: str
    subject_id: str = field(repr=False)
    limit: str
    value: int
    upstream: str
    model: str
    counterparty: str
    tool: str
    raised: int | None
    raised_until_ns: int | None
    reason: str | None
    created_ns: int
    # True if the gateway's operators set it, and not those of the organization, who cannot change it then.
    by_gateway: bool
    # `hard`, or `estimate`: what has no bound is reserved by an estimate.
    mode: str
    # The actor who set it so; None if that was before this was kept beside the log.
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MandateRecord:
    """A mandate. `state` is `in_force`, `revoked` or `expired`.

    `digest` is SHA-256 (hex) of the RFC 8785 form of its document, which `mandates.document` makes and its organization
    signs.
    """

    id: str
    organization: str
    agent: str
    agent_id: str
    to_organization: str
    to_agent: str
    to_agent_id: str
    actions: list[str]
    models: list[str]
    amount_microusd: int
    requests: int | None
    purpose: str
    state: str
    created_ns: int
    expires_ns: int
    revoked_ns: int | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MandateState(MandateRecord):
    """A mandate and what was spent under it, is reserved by calls under way, and is left of its amount."""

    spent_microusd: int
    reserved_microusd: int
    left_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRecord:
    """`version` counts the secrets that this upstream has had."""

    id: str
    organization: str
    name: str
    provider: str
    base_url: str
    default: bool
    has_secret: bool
    version: int
    created_ns: int
    specification: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    # The kind of its credentials: a key of its own or none, or a token of the gateway for each call.
    auth: str = "key"
    # Of an MCP server: the tools that may be called, and the revision that it speaks, None until that was found.
    trust: str | None = None
    protocol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRecord:
    """A tool of an MCP server. `digest` is of what the server says now, `approved_digest` of what was approved.

    `also_at` are other upstreams of the organization that have a tool of this name.
    """

    id: str
    organization: str
    upstream: str
    name: str
    state: str
    digest: str
    approved_digest: str | None
    approved_by: str | None
    approved_ns: int | None
    gone_ns: int | None
    created_ns: int
    updated_ns: int
    also_at: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMember:
    """An upstream (its name) of a route, and what it calls models that clients call otherwise."""

    upstream: str
    tier: int
    weight: int
    models: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRecord:
    """Several upstreams under one name; `version` counts its changes."""

    id: str
    organization: str
    name: str
    default: bool
    version: int
    members: list[RouteMember]
    created_ns: int
    updated_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRecord:
    """A receiver of events. `reach` says which addresses its host may have.

    `shape` is what it takes. Of one whose URL is a secret, `url` shows the host alone. With a `team` or an `owner` it
    is told of their agents alone.
    """

    id: str
    organization: str
    url: str
    reach: str
    shape: str
    team: str | None
    owner: str | None
    events: list[str]
    created_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRecord:
    """A bundle as one commit has it."""

    name: str
    commit: str
    digest: str
    author: str
    entrypoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRecord:
    """A set of bundles that is or was in force."""

    id: str
    commit: str
    actor: str
    created_ns: int
    bundles: dict[str, BundleRecord]
