"""The registry's tables (architecture.md, section 9).

The command line and the control process use them; data workers do not. There are seven sorts:

- rows that have authority (`organization`, `team`, `agent`, `api_key`, `legacy_key`, `issuer`, `issuer_rule`,
  `binding`, `usage_limit`, `upstream`, `upstream_tool`, `upstream_route`, `activation_current`, `peer`): every change
  of a row bumps `epoch` by a trigger in the same transaction, so that all caches of it are read again;
- rows that never change once written (`organization_version`, `team_version`, `agent_version`, `bundle`, `activation`,
  `activation_bundle`): history and content;
- `webhook`: who is told of what happens, which gives nobody any authority;
- `operator`, `operator_version`, `operator_token`, `login_provider`, `login_rule`: who may use the control API, which
  reads them for each request; data workers know nothing of them, so they bump nothing;
- `repeatable_request`: what the control API must not carry out twice;
- `approval_request`, `approval_review`: calls that people must approve. They bump nothing, because whoever needs one
  reads it anew;
- `outbox`: audit entries of committed changes that are not in the audit log yet.

Tables that change without changing authority (last used, nonces) do not belong here but into `runtime.db`. Rows of an
organization carry its id, and every query names it. Times are nanoseconds since 1970. The migrations, not this file,
make the tables; a test holds the two equal.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Table,
    false,
    inspect,
    text,
    true,
)
from sqlmodel import Field, SQLModel

from gateway.identity.call_tokens import KEY
from gateway.identity.credentials import Method, label
from gateway.identity.operator_roles import ROLES
from gateway.outbound.addresses import ANYWHERE
from gateway.registry import approvals
from gateway.registry.agents.fields import AgentTexts
from gateway.registry.agents.states import ENDED, STATES
from gateway.secrets.vault import SealedPlace
from gateway.usage.limits import Part

SUBJECT_KINDS = ("agent", "team", "organization")
EFFECTS = ("grant", "guard", "receive")
OPERATOR_STATES = ("active", "revoked")
PEER_STATES = ("active", "disabled")

NOT_ENDED = f"status NOT IN {ENDED}"
"""Of agents, as their index has it: a query that says it in other words does not use that index."""

PINNED = "removed_ns IS NULL AND pinned IS NOT NULL"
"""Of bindings, likewise."""


_JSON_OR_NULL: Any = JSON(none_as_null=True)
"""A column's type, and no class as the others."""


def table(model: type[SQLModel]) -> Table:
    """A model's table, for statements about plain rows: they are many times as fast as objects where there are many."""
    return cast(Table, inspect(model).local_table)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _live(name: str, *columns: str, where: str) -> Index:
    """A unique index over the rows that are in force; rows kept as history do not count."""
    return Index(name, *columns, unique=True, sqlite_where=text(where), postgresql_where=text(where))


class Deployment(SQLModel, table=True):
    """One row: the name that `gateway init` gave. It is the origin of the audit logs and never changes."""

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: int = Field(default=1, primary_key=True)
    name: str
    created_ns: int = Field(sa_type=BigInteger)


def _in_force(name: str) -> Index:
    """For pages of an organization's rows that were not removed, in the order of their ids."""
    where = text("removed_ns IS NULL")
    return Index(name, "organization_id", "id", sqlite_where=where, postgresql_where=where)


def _text() -> Any:
    """A text that rows of older registries have, too: empty."""
    return Field(default="", sa_column_kwargs={"server_default": ""})


def _zone() -> Any:
    return Field(default="UTC", sa_column_kwargs={"server_default": "UTC"})


class Organization(SQLModel, table=True):
    """A tenant. Its name is fixed as well: bindings, logs and policies refer to it."""

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    created_ns: int = Field(sa_type=BigInteger)
    status: str = Field(default="active", sa_column_kwargs={"server_default": "active"})
    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    # Within how many days the owner of each agent must confirm it. None if nobody has to.
    review_days: int | None = None
    # The days after its review was due until an agent is suspended. None if it is not.
    suspend_after_days: int | None = None
    # The zone in which its days and months begin.
    zone: str = _zone()


class OrganizationVersion(SQLModel, table=True):
    """An organization from `since_ns` until its next version. Written once, never changed."""

    __tablename__ = "organization_version"
    organization_id: str = Field(primary_key=True, foreign_key="organization.id")
    version: int = Field(primary_key=True)
    status: str
    review_days: int | None = None
    suspend_after_days: int | None = None
    zone: str = _zone()
    actor: str
    reason: str
    since_ns: int = Field(sa_type=BigInteger)


class Team(SQLModel, table=True):
    """A team as it is now. Agents, bindings and limits refer to it by its name, which is fixed."""

    __table_args__ = (Index("team_name", "organization_id", "name", unique=True),)
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    name: str
    owner: str
    description: str
    status: str = "active"
    version: int
    created_ns: int = Field(sa_type=BigInteger)
    updated_ns: int = Field(sa_type=BigInteger)


class TeamVersion(SQLModel, table=True):
    """A team from `since_ns` until its next version. Written once, never changed."""

    __tablename__ = "team_version"
    team_id: str = Field(primary_key=True, foreign_key="team.id")
    version: int = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    name: str
    owner: str
    description: str
    status: str
    actor: str
    reason: str
    since_ns: int = Field(sa_type=BigInteger)


class _AgentColumns(SQLModel, AgentTexts):  # type: ignore[misc]  # a table is not frozen as a record is
    """An agent and each of its versions."""

    organization_id: str = Field(foreign_key="organization.id")
    name: str
    owner: str
    team: str
    environment: str
    capabilities: list[str] = Field(sa_type=JSON)
    labels: dict[str, str] = Field(sa_type=JSON)
    status: str
    # For how many days its content is kept, and what is redacted: `days`, `redact`. None if no content is kept.
    content: dict[str, Any] | None = Field(default=None, sa_type=_JSON_OR_NULL)
    # The id of the agent that it works for or was made by.
    parent: str | None = None
    # From then on it is refused, whatever its status.
    expires_ns: int | None = Field(default=None, sa_type=BigInteger)
    # Within how many days its owner must confirm it, if not as often as the organization says; and when it was.
    review_days: int | None = None
    reviewed_ns: int | None = Field(default=None, sa_type=BigInteger)


class NewAgent(_AgentColumns):  # type: ignore[misc]  # as above
    """The columns of an agent, without the ORM, whose objects would take most of the time of registering many."""

    id: str = Field(primary_key=True)
    version: int
    # Sealed (`content_keys.py`); None if there is no kept content.
    content_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_ns: int = Field(sa_type=BigInteger)
    updated_ns: int = Field(sa_type=BigInteger)


class Agent(NewAgent, table=True):  # type: ignore[misc]  # as above
    """An agent as it is now. One that is revoked or retired stays, and its name becomes free."""

    __table_args__ = (
        _one_of("status", STATES),
        _live("agent_live_name", "organization_id", "name", where=NOT_ENDED),
        Index("agent_organization", "organization_id", "id"),
        Index("agent_owner", "organization_id", "owner", "id"),
        Index("agent_team", "organization_id", "team", "id"),
    )


class EmergencyStop(SQLModel, table=True):
    """A stop of all agents of an organization, or of all (no organization), in force until `ended_ns`. Rows stay."""

    __tablename__ = "emergency_stop"
    __table_args__ = (
        Index(
            "emergency_stop_in_force",
            "organization_id",
            sqlite_where=text("ended_ns IS NULL"),
            postgresql_where=text("ended_ns IS NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    organization_id: str | None = Field(default=None, foreign_key="organization.id")
    actor: str
    reason: str
    created_ns: int = Field(sa_type=BigInteger)
    ended_ns: int | None = Field(default=None, sa_type=BigInteger)
    ended_by: str | None = None


class AgentVersion(_AgentColumns, table=True):  # type: ignore[misc]  # as above
    """An agent from `since_ns` until its next version. Written once, never changed."""

    __tablename__ = "agent_version"
    agent_id: str = Field(primary_key=True, foreign_key="agent.id")
    version: int = Field(primary_key=True)
    actor: str
    reason: str = _text()
    since_ns: int = Field(sa_type=BigInteger)


class ApiKey(SQLModel, table=True):
    """A key of an agent: `credential_id` is the public part of its text, `digest` the hash of all of it.

    `scope` is what it is for (`gateway/identity/key_scope.py`); None for all that its agent may do. `replaced_by` is
    the key that a rotation made in its place, at `replaced_ns`; until then `expires_ns` was `first_expires_ns`. Of
    rotations by older versions the last two are not known.

    With a `public_key` it is one that signs: `credential_id` is the key's thumbprint, and there is no hash. With a
    `spiffe_id` it is the name of a workload, which comes with a certificate: `credential_id` is the row's own id. A
    revoked row stays, and its name becomes free.
    """

    __tablename__ = "api_key"
    __table_args__ = (
        Index("api_key_agent", "agent_id"),
        Index("api_key_spiffe", "spiffe_id"),
        _live("api_key_live_spiffe", "spiffe_id", where="revoked_ns IS NULL AND spiffe_id IS NOT NULL"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    agent_id: str = Field(foreign_key="agent.id")
    credential_id: str = Field(unique=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper: int
    public_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    spiffe_id: str | None = None
    created_ns: int = Field(sa_type=BigInteger)
    expires_ns: int | None = Field(default=None, sa_type=BigInteger)
    revoked_ns: int | None = Field(default=None, sa_type=BigInteger)
    scope: dict[str, Any] | None = Field(default=None, sa_type=_JSON_OR_NULL)
    replaced_by: str | None = None
    replaced_ns: int | None = Field(default=None, sa_type=BigInteger)
    first_expires_ns: int | None = Field(default=None, sa_type=BigInteger)
    # Its creator; None in rows of older registries.
    actor: str | None = None

    @property
    def method(self) -> Method:
        """The kind of credentials that it is for."""
        if self.spiffe_id is not None:
            return "mtls"
        return "api_key" if self.public_key is None else "signature"

    @property
    def shown_id(self) -> str:
        """Its name in lists and logs: the beginning of a key's text, a public key's thumbprint, a SPIFFE ID."""
        if self.spiffe_id is not None:
            return self.spiffe_id
        return label("agent", self.credential_id) if self.public_key is None else self.credential_id


class LegacyKey(SQLModel, table=True):
    """A provider's key that programs may still present until `expires_ns` (`gateway/registry/adoptions.py`).

    `digest` is its hash (`gateway/identity/legacy_keys.py`), `upstream` the name of the one that it is for. A change
    ends the row (`revoked_ns`) and adds another.
    """

    __tablename__ = "legacy_key"
    __table_args__ = (
        # Over all organizations: a key must not mean two of them.
        _live("legacy_key_live", "digest", where="revoked_ns IS NULL"),
        Index("legacy_key_digest", "digest"),
        Index("legacy_key_organization", "organization_id"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    agent_id: str = Field(foreign_key="agent.id")
    upstream: str
    digest: bytes = Field(sa_type=LargeBinary)
    pepper: int
    created_ns: int = Field(sa_type=BigInteger)
    expires_ns: int = Field(sa_type=BigInteger)
    revoked_ns: int | None = Field(default=None, sa_type=BigInteger)
    actor: str


_OF_A_LOGIN = "status = 'active' AND issuer IS NOT NULL"


class Operator(SQLModel, table=True):
    """A user of the control API: in one organization, or in all of them (`organization_id` is None).

    One that is revoked stays, and its name becomes free.
    """

    __table_args__ = (
        _one_of("role", ROLES),
        _one_of("status", OPERATOR_STATES),
        _live("operator_live_everywhere", "name", where="status = 'active' AND organization_id IS NULL"),
        _live("operator_live_name", "organization_id", "name", where="status = 'active'"),
        _live("operator_person_everywhere", "issuer", "subject", where=f"{_OF_A_LOGIN} AND organization_id IS NULL"),
        _live("operator_person", "organization_id", "issuer", "subject", where=_OF_A_LOGIN),
    )
    id: str = Field(primary_key=True)
    organization_id: str | None = Field(default=None, foreign_key="organization.id")
    name: str
    role: str
    status: str
    version: int
    created_ns: int = Field(sa_type=BigInteger)
    updated_ns: int = Field(sa_type=BigInteger)
    # The person who logs in as this operator, as its provider names it; None if somebody has added the operator.
    issuer: str | None = None
    subject: str | None = None


class OperatorVersion(SQLModel, table=True):
    """An operator from `since_ns` until its next version. Written once, never changed."""

    __tablename__ = "operator_version"
    operator_id: str = Field(primary_key=True, foreign_key="operator.id")
    version: int = Field(primary_key=True)
    organization_id: str | None = Field(default=None, foreign_key="organization.id")
    name: str
    role: str
    status: str
    actor: str
    reason: str
    since_ns: int = Field(sa_type=BigInteger)


class OperatorToken(SQLModel, table=True):
    """A token of an operator, stored as an agent's key is. `scopes` None: all that its role may do."""

    __tablename__ = "operator_token"
    __table_args__ = (
        Index("operator_token_operator", "operator_id"),
        _live("operator_token_login", "login", where="login IS NOT NULL"),
        Index("operator_token_rule", "login_rule"),
    )
    id: str = Field(primary_key=True)
    operator_id: str = Field(foreign_key="operator.id")
    organization_id: str | None = Field(default=None, foreign_key="organization.id")
    credential_id: str = Field(unique=True)
    digest: bytes = Field(sa_type=LargeBinary)
    pepper: int
    scopes: list[str] | None = Field(default=None, sa_type=_JSON_OR_NULL)
    created_ns: int = Field(sa_type=BigInteger)
    expires_ns: int | None = Field(default=None, sa_type=BigInteger)
    revoked_ns: int | None = Field(default=None, sa_type=BigInteger)
    actor: str
    # The login that it came from, which gives one token only, and the rule that let the person in.
    login: str | None = None
    login_rule: str | None = None


class LoginProvider(SQLModel, table=True):
    """An OpenID Connect provider where operators log in (login.md). A removed one stays as history.

    It is one of the whole gateway. `secret`, of a confidential client, is sealed for the row and its version.
    """

    __tablename__ = "login_provider"
    __table_args__ = (
        _live("login_provider_name", "name", where="removed_ns IS NULL"),
        _live("login_provider_issuer", "issuer", where="removed_ns IS NULL"),
    )
    id: str = Field(primary_key=True)
    name: str
    issuer: str
    client_id: str
    secret: bytes | None = Field(default=None, sa_type=LargeBinary)
    scopes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    session_seconds: int
    version: int
    created_ns: int = Field(sa_type=BigInteger)
    removed_ns: int | None = Field(default=None, sa_type=BigInteger)


class LoginRule(SQLModel, table=True):
    """A person with these claims at a provider is an operator with this role, of an organization or of the whole
    gateway (`organization_id` is None). A removed one stays as history.
    """

    __tablename__ = "login_rule"
    __table_args__ = (_one_of("role", ROLES), Index("login_rule_provider", "provider_id"))
    id: str = Field(primary_key=True)
    provider_id: str = Field(foreign_key="login_provider.id")
    organization_id: str | None = Field(default=None, foreign_key="organization.id")
    claims: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    role: str
    created_ns: int = Field(sa_type=BigInteger)
    removed_ns: int | None = Field(default=None, sa_type=BigInteger)


class Peer(SQLModel, table=True):
    """Another gateway that is trusted to say who calls, for the organizations in `speaks_for` (two-gateways.md).

    It is one of the whole gateway. `jwks` has its public keys, each under its thumbprint. A removed one stays as
    history.
    """

    __table_args__ = (_live("peer_name", "name", where="removed_ns IS NULL"), _one_of("status", PEER_STATES))
    id: str = Field(primary_key=True)
    name: str
    jwks: str
    speaks_for: list[str] = Field(sa_column=Column(JSON, nullable=False))
    status: str
    version: int
    created_ns: int = Field(sa_type=BigInteger)
    removed_ns: int | None = Field(default=None, sa_type=BigInteger)


class RepeatableRequest(SQLModel, table=True):
    """A request to the control API that was carried out under an idempotency key, and what was answered.

    It is here, not in `runtime.db`, because it is recorded in the transaction of its change. Kept for a day.
    """

    __tablename__ = "repeatable_request"
    __table_args__ = (Index("repeatable_request_created", "created_ns"),)
    operator_id: str = Field(primary_key=True, foreign_key="operator.id")
    key: str = Field(primary_key=True)
    digest: bytes = Field(sa_type=LargeBinary)
    status: int | None = None
    answer: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_ns: int = Field(sa_type=BigInteger)


class Binding(SQLModel, table=True):
    """A subject and the bundle that judges it. `subject` is an agent's id, a team's name or an organization's id.

    A change ends the row (`removed_ns`) and adds another, so that the bindings at any time can be told.
    """

    __table_args__ = (
        _one_of("subject_kind", SUBJECT_KINDS),
        _one_of("effect", EFFECTS),
        _live(
            "binding_live",
            *("organization_id", "subject_kind", "subject", "bundle", "shadow"),
            where="removed_ns IS NULL",
        ),
        _in_force("binding_in_force"),
        # Few bindings pin a revision, and data workers ask for these several times a second.
        Index("binding_pinned", "bundle", "pinned", sqlite_where=text(PINNED), postgresql_where=text(PINNED)),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    subject_kind: str
    subject: str
    bundle: str
    effect: str
    # It is asked and recorded, and does not count.
    shadow: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    pinned: str | None = None
    created_ns: int = Field(sa_type=BigInteger)
    removed_ns: int | None = Field(default=None, sa_type=BigInteger)
    # Its maker, and the reason; None in rows of older registries.
    actor: str | None = None
    reason: str | None = None


class UsageLimit(SQLModel, table=True):
    """A limit on what a subject may use; `subject` is stored as in a binding. An empty part of its calls means any.

    A change ends the row (`removed_ns`) and adds another, so that the limits at any time can be told. Until
    `raised_until_ns` the limit is `raised`. The same limit may be there twice, set for the gateway and for the
    organization; both hold.
    """

    __tablename__ = "usage_limit"
    __table_args__ = (
        _one_of("subject_kind", SUBJECT_KINDS),
        _live(
            "usage_limit_live",
            *("organization_id", "subject_kind", "subject", "name", *Part._fields, "by_gateway"),
            where="removed_ns IS NULL",
        ),
        _in_force("usage_limit_in_force"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    subject_kind: str
    subject: str
    name: str
    upstream: str
    model: str
    counterparty: str = Field(default="", sa_column_kwargs={"server_default": ""})
    tool: str = Field(default="", sa_column_kwargs={"server_default": ""})
    value: int = Field(sa_type=BigInteger)
    # Set by the gateway's operators: those of the organization cannot change it.
    by_gateway: bool = Field(default=True, sa_column_kwargs={"server_default": true()})
    # `hard` or `estimate`; limits that were set before there were modes are hard.
    mode: str = Field(default="hard", sa_column_kwargs={"server_default": "hard"})
    raised: int | None = Field(default=None, sa_type=BigInteger)
    raised_until_ns: int | None = Field(default=None, sa_type=BigInteger)
    reason: str | None = None
    created_ns: int = Field(sa_type=BigInteger)
    removed_ns: int | None = Field(default=None, sa_type=BigInteger)
    # The actor who set it so; None in rows of older registries.
    actor: str | None = None


class Issuer(SQLModel, table=True):
    """A party whose tokens say who a program or a person is (`gateway/identity/workload.py`, `persons.py`).

    A removed one stays as history.

    `issuer` and `audience` are what its tokens must say. `jwks` is a set of public keys as JSON text; if it is empty,
    the set is at `jwks_url`, or where the issuer's discovery document says. The last five say whose its tokens are and,
    for those of persons, what they must be and what is kept of them.
    """

    __table_args__ = (
        _live("issuer_live_name", "organization_id", "name", where="removed_ns IS NULL"),
        # Over all organizations: a token must not mean two of them.
        _live("issuer_live_audience", "issuer", "audience", where="removed_ns IS NULL"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    name: str
    issuer: str
    audience: str
    jwks_url: str
    jwks: str
    created_ns: int = Field(sa_type=BigInteger)
    removed_ns: int | None = Field(default=None, sa_type=BigInteger)
    purpose: str = Field(default="workloads", sa_column_kwargs={"server_default": "workloads"})
    accepts: str = Field(default="id_token", sa_column_kwargs={"server_default": "id_token"})
    max_age: int = Field(default=3600, sa_column_kwargs={"server_default": "3600"})
    claims: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False, server_default="[]"))
    algorithms: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False, server_default="[]"))
    # The addresses that the host of its keys may have (`outbound/addresses.py`).
    reach: str = Field(default=ANYWHERE, sa_column_kwargs={"server_default": ANYWHERE})


class IssuerRule(SQLModel, table=True):
    """The claims that make an issuer's token an agent's, or let an agent act for the person that it names.

    A removed one stays as history.
    """

    __tablename__ = "issuer_rule"
    __table_args__ = (Index("issuer_rule_issuer", "issuer_id"),)
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    issuer_id: str = Field(foreign_key="issuer.id")
    agent_id: str = Field(foreign_key="agent.id")
    claims: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    created_ns: int = Field(sa_type=BigInteger)
    removed_ns: int | None = Field(default=None, sa_type=BigInteger)


class GivenName(SQLModel, table=True):
    """A trust domain, or an issuer with an audience, that an organization was given (`given_names.py`)."""

    __tablename__ = "given_name"
    __table_args__ = (Index("given_name_once", "kind", "name", "audience", unique=True),)
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    kind: str
    name: str
    audience: str
    created_ns: int = Field(sa_type=BigInteger)
    actor: str


class Contest(SQLModel, table=True):
    """A credential that an organization has tried to register, although another one has it (`contests.py`)."""

    credential: str = Field(primary_key=True)
    organization_id: str = Field(primary_key=True, foreign_key="organization.id")
    holder_id: str = Field(foreign_key="organization.id")
    what: str
    first_ns: int = Field(sa_type=BigInteger)
    last_ns: int = Field(sa_type=BigInteger)


class Upstream(SQLModel, table=True):
    """A destination and its sealed secret (`vault.py`); `version` counts its secrets. Removal deletes the row."""

    __table_args__ = (
        Index("upstream_name", "organization_id", "name", unique=True),
        _live("upstream_default", "organization_id", where="is_default"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    name: str
    provider: str
    base_url: str
    is_default: bool
    secret: bytes | None = Field(default=None, sa_type=LargeBinary)
    version: int
    # The operations of a JSON API, as the provider `http` stores them; None for every other provider.
    specification: str | None = None
    # The addresses that its host may have (`outbound/addresses.py`).
    reach: str = Field(default=ANYWHERE, sa_column_kwargs={"server_default": ANYWHERE})
    # Sent with every call: names in lower case. They are no secrets.
    headers: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False, server_default="{}"))
    # The kind of its credentials (`identity/call_tokens.py`).
    auth: str = Field(default=KEY, sa_column_kwargs={"server_default": KEY})
    # Of an MCP server: which of its tools may be called (`mcp/pins.py`), and the revisions that it speaks, once found.
    trust: str | None = None
    protocol: str | None = None
    created_ns: int = Field(sa_type=BigInteger)
    updated_ns: int = Field(sa_type=BigInteger)

    def place(self, organization: str) -> SealedPlace:
        """The place that the secret is sealed for. An older ciphertext of this row is of no use: the version counts."""
        return SealedPlace(organization, self.provider, self.id, self.version)


class UpstreamTool(SQLModel, table=True):
    """A tool of an MCP server: what was approved of it, and what the server says now if that differs.

    `definition` and `digest` are the approved ones; of a tool that nobody has approved they are what was seen first.
    `seen` and `seen_digest` are of a tool that has changed; `gone_ns` is of one that the server no longer offers.
    The rows go with their upstream.
    """

    __tablename__ = "upstream_tool"
    __table_args__ = (
        Index("upstream_tool_name", "upstream_id", "name", unique=True),
        Index("upstream_tool_organization", "organization_id", "id"),
        Index("upstream_tool_waiting", "organization_id", "state"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    upstream_id: str = Field(foreign_key="upstream.id")
    name: str
    state: str
    digest: str
    definition: str
    seen_digest: str | None = None
    seen: str | None = None
    # Who approved it; `first_use` or `trust` if the rule of its server did.
    approved_by: str | None = None
    approved_ns: int | None = Field(default=None, sa_type=BigInteger)
    gone_ns: int | None = Field(default=None, sa_type=BigInteger)
    created_ns: int = Field(sa_type=BigInteger)
    updated_ns: int = Field(sa_type=BigInteger)


class UpstreamRoute(SQLModel, table=True):
    """Several upstreams under one name; `version` counts its changes, which the log tells. Removal deletes the row.

    Members are objects: `upstream` (an id), `weight`, `tier`, and `models` (names there by the names that clients use).
    """

    __tablename__ = "upstream_route"
    __table_args__ = (
        Index("upstream_route_name", "organization_id", "name", unique=True),
        _live("upstream_route_default", "organization_id", where="is_default"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    name: str
    is_default: bool
    members: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    version: int
    created_ns: int = Field(sa_type=BigInteger)
    updated_ns: int = Field(sa_type=BigInteger)


class Bundle(SQLModel, table=True):
    """A bundle as one commit has it, recorded after its tests passed. Many commits may have the same digest."""

    name: str = Field(primary_key=True)
    revision: str = Field(primary_key=True)
    digest: str
    author: str
    entrypoint: str
    tested_ns: int = Field(sa_type=BigInteger)


class Activation(SQLModel, table=True):
    """A set of bundle revisions that was in force from `created_ns` until the next activation."""

    id: str = Field(primary_key=True)
    revision: str
    actor: str
    created_ns: int = Field(sa_type=BigInteger)


class ActivationBundle(SQLModel, table=True):
    """One member of an activation."""

    __tablename__ = "activation_bundle"
    __table_args__ = (ForeignKeyConstraint(["name", "revision"], ["bundle.name", "bundle.revision"]),)
    activation_id: str = Field(primary_key=True, foreign_key="activation.id")
    name: str = Field(primary_key=True)
    revision: str


class ActivationCurrent(SQLModel, table=True):
    """One row, or none before the first activation: which activation is in force."""

    __tablename__ = "activation_current"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: int = Field(default=1, primary_key=True)
    activation_id: str = Field(foreign_key="activation.id")


class Epoch(SQLModel, table=True):
    """One row: the number of the registry's state, and of the last change of each part.

    Triggers write it, and `token_keys.py` when a key of tokens goes, which is no row.
    """

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: int = Field(default=1, primary_key=True)
    value: int = Field(sa_type=BigInteger)
    authority: int = Field(sa_type=BigInteger)
    upstreams: int = Field(sa_type=BigInteger)
    policy: int = Field(sa_type=BigInteger)


class Webhook(SQLModel, table=True):
    """A receiver of events, and the sealed secret that signs them. Removal deletes the row.

    `shape` is what it takes; where nothing is signed its URL is sealed, and `url` shows only the host. `reach` says
    which addresses its host may have (`gateway/outbound/addresses.py`). `since` is the position in the log after which
    it is told of entries.
    """

    __table_args__ = (Index("webhook_url", "organization_id", "url", unique=True),)
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    url: str
    reach: str
    shape: str = Field(default="generic", sa_column_kwargs={"server_default": "generic"})
    # If given, it is told of nothing but agents of this team, or of this owner.
    team: str | None = None
    owner: str | None = None
    events: list[str] = Field(sa_column=Column(JSON, nullable=False))
    secret: bytes = Field(sa_type=LargeBinary)
    since: int = Field(sa_type=BigInteger)
    created_ns: int = Field(sa_type=BigInteger)


class Mandate(SQLModel, table=True):
    """A mandate of an agent to another one, perhaps of another organization (`gateway/registry/mandates.py`).

    `scope` has its actions and models, as that of a key. `digest` is that of the document that its organization signs.
    """

    __table_args__ = (
        Index("mandate_organization", "organization_id", "id"),
        Index("mandate_to_organization", "to_organization_id", "id"),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    agent_id: str = Field(foreign_key="agent.id")
    to_organization_id: str = Field(foreign_key="organization.id")
    to_agent_id: str = Field(foreign_key="agent.id")
    scope: str
    amount_microusd: int = Field(sa_type=BigInteger)
    requests: int | None = Field(default=None, sa_type=BigInteger)
    purpose: str
    digest: str
    created_ns: int = Field(sa_type=BigInteger)
    expires_ns: int = Field(sa_type=BigInteger)
    revoked_ns: int | None = Field(default=None, sa_type=BigInteger)
    actor: str


class ApprovalRequest(SQLModel, table=True):
    """A call that people must approve before it runs (docs/explanation/approvals.md). Workers add rows themselves.

    `digest` finds the request of a call, and is gone once the request does not stand any more. `commitment` is what the
    log has of it. `sealed` is the call as reviewers see it, and gone once it is settled. `requirements` is what the
    policies demand, `call` what may be shown in lists. `expires_ns` is that of the request, or of the approval.
    `pattern` is the digest of what calls have in common that one approval may be for, and `pattern_commitment` what the
    log has of it. The approval is for so many `uses`, of which so many are known to be `used`, and for the pattern or
    the call alone.
    """

    __tablename__ = "approval_request"
    __table_args__ = (
        _one_of("state", approvals.STATES),
        _live("approval_request_call", "agent_id", "digest", where="digest IS NOT NULL"),
        Index(
            "approval_request_unsettled",
            *("organization_id", "agent_id", "state"),
            sqlite_where=text(approvals.UNSETTLED),
            postgresql_where=text(approvals.UNSETTLED),
        ),
        Index("approval_request_organization", "organization_id", "id"),
        Index(
            "approval_request_pattern",
            *("agent_id", "pattern"),
            sqlite_where=text(approvals.ALIKE),
            postgresql_where=text(approvals.ALIKE),
        ),
    )
    id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.id")
    agent_id: str = Field(foreign_key="agent.id")
    key_id: str
    digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    salt: bytes = Field(sa_type=LargeBinary)
    commitment: str
    state: str
    requirements: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    call: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    # The first decision of the call, which asked for it.
    decision_id: str
    created_ns: int = Field(sa_type=BigInteger)
    expires_ns: int = Field(sa_type=BigInteger)
    settled_ns: int | None = Field(default=None, sa_type=BigInteger)
    # The numbers of the requirements that others may review by now, too; and when the next one is due.
    escalated: list[int] = Field(default_factory=list, sa_column=Column(JSON, nullable=False, server_default="[]"))
    escalates_ns: int | None = Field(default=None, sa_type=BigInteger)
    # When the client has left that asked, if no other one knows of the request; 0 if one does.
    left_ns: int | None = Field(default=None, sa_type=BigInteger)
    # Who has settled it, or the decision that has used it.
    settled_by: str | None = None
    reason: str = ""
    pattern: bytes | None = Field(default=None, sa_type=LargeBinary)
    pattern_commitment: str = ""
    uses: int = Field(default=1, sa_type=BigInteger)
    used: int = Field(default=0, sa_type=BigInteger)
    for_pattern: bool = False
    # To the person for whom the agent acts, with this row's salt; empty if there is none.
    person_commitment: str = ""


class ApprovalReview(SQLModel, table=True):
    """What one person said about a request. `meets` has the numbers of the requirements that the person counts for.

    Who approves says for how many uses, for how long, and whether for all calls that are alike.
    """

    __tablename__ = "approval_review"
    __table_args__ = (_one_of("verdict", approvals.VERDICTS),)
    request_id: str = Field(primary_key=True, foreign_key="approval_request.id")
    actor: str = Field(primary_key=True)
    name: str
    verdict: str
    reason: str
    meets: list[int] = Field(sa_column=Column(JSON, nullable=False))
    created_ns: int = Field(sa_type=BigInteger)
    uses: int = Field(default=1, sa_type=BigInteger)
    seconds: int = Field(default=3600, sa_type=BigInteger)
    for_pattern: bool = False


class ApprovalLook(SQLModel, table=True):
    """Somebody has seen the whole call of a request: first at this time."""

    __tablename__ = "approval_look"
    request_id: str = Field(primary_key=True, foreign_key="approval_request.id")
    actor: str = Field(primary_key=True)
    created_ns: int = Field(sa_type=BigInteger)


class Outbox(SQLModel, table=True):
    """An audit entry that belongs to a committed change, until it is in the log. Order of rows is order of changes."""

    __table_args__ = ({"sqlite_autoincrement": True},)
    position: int | None = Field(default=None, primary_key=True)
    event_id: str = Field(unique=True)
    organization: str
    kind: str
    entry: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    epoch: int = Field(sa_type=BigInteger)
    created_ns: int = Field(sa_type=BigInteger)
