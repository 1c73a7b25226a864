"""Entries that the rest of the gateway asks the audit log to record: one dataclass for each kind of entry, never
changed.

An intent is not an entry yet: the writer adds what only its transaction knows (the time, the answer of a reservation).
`draft.py` and `transaction.py` turn an intent into a leaf. Specification: architecture.md, section 10.

`organization` names the log: that of an organization, or `SYSTEM` for entries of the deployment as a whole. `event_id`
makes recording idempotent: an intent is recorded once, however often it is submitted and whatever earlier attempts
reported. `epoch` is the registry's epoch at which the fact was established. `fields` are further members of the leaf:
ASCII names (`[a-z][a-z0-9_]*`), values str, bool, None or int within ±(2**53-1). Clocks in nanoseconds are decimal
strings, whole documents are canonical JSON text (`entry.document`). Members whose names end in `_json` may hold such
documents (48 KiB), other strings at most 4 KiB. An intent that is too long is refused (`bad_entry`), not cut. Only
`reasons` are cut, because a policy must not be able to keep its denials out of the log. The two kinds of a request are
not frozen, because making a frozen object takes three times as long, and every request makes both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias

from gateway.audit.balance import Amounts
from gateway.audit.balances import Balances
from gateway.audit.content import Sealed
from gateway.audit.entry import Scalar
from gateway.audit.over_limits import RaisedLimit
from gateway.audit.thresholds import LimitWindow

SYSTEM = "system"
"""The log of the deployment itself. No organization may have this name."""

Fields: TypeAlias = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """The answer of a reservation that cannot be made: the entry becomes a denial with this code and these reasons."""

    reason: str = "limit_exceeded"
    reasons: Sequence[str] = ()
    fields: Fields = field(default_factory=dict)
    """Further members of the entry, such as whose limit it was."""
    used_up: Sequence[LimitWindow] = ()
    """The limits that had no room: an entry follows for each that is used up (`thresholds.py`)."""


class Reservation(Protocol):
    """A condition of an allow that only the transaction of its entry can decide, such as a part of a budget."""

    def take(self, balances: Balances, time_ns: int, raised: Sequence[RaisedLimit] = ()) -> Fields | Denial:
        """Further members of the entry, or a denial. Changes nothing: what the entry says is what is reserved.

        `raised` are the limits that the decision's approval lets it go over.

        Called in the writer's thread, inside the transaction that records the decision and under its lock, so the
        balances are current in all processes. A member `reservation_json` (`balances.reservation_of`) is added to the
        balances that it names, and stays with the open decision until it is closed.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Decided:
    """A request was judged. Recorded before the first byte goes upstream.

    `open` says that the request goes on and a `completed` will follow: an open decision remains in the database until
    then, and belongs to the process (`boot`) that recorded it. A denial is never open. Check the entry that is
    returned: `reservation` may have made it a denial.

    `private` is the canonical input document without its content; it goes into a private row, the leaf holds only its
    salted commitment (`input_commitment`). Give `salt` (32 random bytes) to make further salted digests of the same
    event yourself (`entry.commitment(salt, "request_body", body)`); it is stored in that row too.
    """

    kind: ClassVar[str] = "decided"
    organization: str
    event_id: str
    """The decision id, `dec_…`."""
    agent: str | None
    key: str | None
    allow: bool
    reason: str
    """The reason code of a denial; `allowed` otherwise."""
    reasons: Sequence[str] = ()
    open: bool = False
    epoch: int = 0
    fields: Fields = field(default_factory=dict)
    private: bytes | None = None
    salt: bytes | None = None
    reservation: Reservation | None = None
    # The client's content, if its agent's content is kept.
    content: Sealed | None = None
    # A denial by the reservation is not recorded: it is returned with `Committed.recorded` false.
    counted: bool = False
    others: tuple[Decided, ...] = ()
    """The decisions of other sides (`halves_check.SIDES`), recorded in the same transaction, perhaps in other logs.

    They come first, and this entry gets their leaf hashes. If the reservation turns this one into a denial, the others
    were not asked, and nothing of them is recorded. If the reservation of another side turns that one into a denial,
    both are denied, this one reserves nothing, and of further sides nothing is recorded.
    """


@dataclass(slots=True, kw_only=True)
class Completed:
    """An open decision has ended, in whatever way. The first closing of a decision stands; later ones return it.

    The event id follows from the decision's (`end_…` for `dec_…`), so that a decision cannot be closed twice.
    """

    kind: ClassVar[str] = "completed"
    organization: str
    decision_id: str
    outcome: str
    """`ok`, or a word (`[a-z_]`) for how it ended: `client_disconnected`, `upstream_error`, `unknown`, …"""
    agent: str | None = None
    status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    # The amounts at which its reservation is settled; None if they are not known, so that all of it counts as used.
    settled: Amounts | None = None
    epoch: int = 0
    fields: Fields = field(default_factory=dict)
    # The provider's answer, if the agent's content is kept.
    content: Sealed | None = None
    others: tuple[Completed, ...] = ()
    """The ends of the decisions of other sides (`Decided.others`), in the same transaction.

    Their entries get the leaf hash of the caller's decision (`other_leaf`).
    """

    @property
    def event_id(self) -> str:
        return closing_id(self.decision_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Requests were refused before a decision: `count` of them, for one reason, between two clock values.

    Without a principal they go to the `SYSTEM` log in aggregate; those of a known but dead key to its organization's.
    """

    kind: ClassVar[str] = "refused"
    reason: str
    count: int
    first_ns: int
    last_ns: int
    organization: str = SYSTEM
    event_id: str | None = None
    """If None the writer makes one, and what is submitted twice is recorded twice."""
    agent: str | None = None
    key: str | None = None
    epoch: int = 0
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The registry was changed: `what` (`agent.created`, `key.revoked`) by `actor` (`local:1000`, an operator id)."""

    kind: ClassVar[str] = "change"
    organization: str
    event_id: str
    """`chg_…`, from the outbox row."""
    actor: str
    what: str
    epoch: int = 0
    fields: Fields = field(default_factory=dict)
    private: bytes | None = None
    """The document that the entry only commits to, as with a decision; with the `salt` of further salted digests."""
    salt: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activated:
    """A set of bundle revisions came into force, or was refused: then `outcome` says why."""

    kind: ClassVar[str] = "activation"
    organization: str = SYSTEM
    event_id: str
    actor: str
    activation: str
    """The activation's id; empty if there is none because the revision was refused."""
    outcome: str = "ok"
    epoch: int = 0
    fields: Fields = field(default_factory=dict)
    """Put the commit, its author and the bundles' digests here (`bundles_json` for the list)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSigned:
    """A log's head was signed. Recorded in the `SYSTEM` log, which thus shows if another log's tail is missing."""

    kind: ClassVar[str] = "checkpoint"
    organization: ClassVar[str] = SYSTEM
    origin: str
    size: int
    root: str
    event_id: str
    epoch: int = 0
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Close all open decisions of `boots` in one log, with outcome `unknown`, and record that.

    It is one transaction, so each decision is closed exactly once, however often recovery runs or is killed.
    """

    kind: ClassVar[str] = "recovered"
    organization: str
    boots: frozenset[str]
    event_id: str | None = None
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Delete what is kept of the content of these decisions of one log, and record that, in one transaction."""

    kind: ClassVar[str] = "erasure"
    organization: str
    decisions: Sequence[str]
    actor: str
    why: str
    """`expired`, or `requested`."""
    event_id: str | None = None
    epoch: int = 0
    fields: Fields = field(default_factory=dict)


Intent: TypeAlias = Decided | Completed | Refused | Changed | Activated | HeadSigned | Recovered | Erased


def closing_id(decision_id: str) -> str:
    """The event id of the `completed` entry that closes this decision."""
    return "end_" + decision_id.removeprefix("dec_")
