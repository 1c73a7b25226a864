"""Operations: what the control API serves, declared at its functions; requests and answers as these see them.

A function in `api/` becomes an operation by the decorator `Operation`. Its docstring is the summary, and the type of
its request says which body and parameters it takes: `Ask[NewAgent]`, `Ask[None, PageQuery]`. The server (`server.py`)
carries operations out and the document (`openapi.py`) is made of them, so that the two cannot differ.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypedDict, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeVar

from gateway.audit.log_reader import IndexedLog
from gateway.control import shapes
from gateway.control.kept_answers import KeptAnswer, KeptAnswers
from gateway.control.problems import Problem
from gateway.control.shapes import Schema
from gateway.identity import operator_roles
from gateway.upstream import strict_json

if TYPE_CHECKING:  # a command imports what its own operation needs, and no more
    from sqlmodel import Session

    from gateway.audit.writer import AuditWriter
    from gateway.control.callers import Caller
    from gateway.control.permissions import Bundles
    from gateway.control.sealing import Cursors
    from gateway.data_directory import DataDirectory
    from gateway.identity.credentials import Peppers
    from gateway.registry.database import Registry, Step
    from gateway.secrets.vault import Vault
    from gateway.settings import Settings

T = TypeVar("T")
A = TypeVar("A", covariant=True, default=Any)
B = TypeVar("B", covariant=True, default=object)
Q = TypeVar("Q", covariant=True, default=object)
F = TypeVar("F", bound=Callable[..., Any])

MAX_PAGE = 500
MAX_BODY = 256 * 1024
DEFAULT_PAGE = 100

_NOTHING: Mapping[str, str] = {}


class Body(BaseModel):
    """A request body: JSON of these types only, and no other members."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Reasoned(Body):
    """Why a change is made."""

    reason: str = Field("", description="Why; it stays in the audit log.")


class Query(BaseModel):
    """The parameters after the `?`, and no others."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class ReasonQuery(Query):
    """Why a thing is removed: a DELETE has no body."""

    reason: str = Field("", description="Why; it stays in the audit log.")


class PageQuery(Query):
    """Which part of a list is wanted."""

    limit: int = Field(DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="The most items of one page.")
    cursor: str | None = Field(None, description="The `next` of the page before.")


@dataclass(frozen=True, kw_only=True)
class Context:
    """The objects that operations work with."""

    registry: Registry
    data: DataDirectory
    settings: Settings
    writer: AuditWriter | None
    """The one of this process: a writer of its own for each change would be a thread and a connection each time."""
    peppers: Peppers
    vault: Vault
    cursors: Cursors
    bundles: Bundles
    health: Callable[[str | None, Registry], Mapping[str, Any]] | None = None
    """The status as in `gateway status`, or an organization's part of it, if this API's process can tell. Blocks."""
    followed: Callable[[str], bool] | None = None
    """Tells whether the branch that policies come from has a commit, if the process of this API can tell."""
    kept: KeptAnswers = field(default_factory=KeptAnswers)
    """Answers for pages that take long to make."""
    progress: Callable[[int, int], None] | None = None
    """It is told how far something long has come, if somebody looks on."""

    @contextmanager
    def writing(self) -> Iterator[AuditWriter]:
        """The writer of this process, or one for this block."""
        if self.writer is not None:
            yield self.writer
            return
        from gateway.audit.writer import AuditWriter
        from gateway.identifiers import new_id
        from gateway.registry import queries

        own = AuditWriter(self.data, boot=new_id("boot"), deployment=queries.deployment(self.registry))
        try:
            yield own
        finally:
            own.close()

    @contextmanager
    def log(self) -> Iterator[IndexedLog]:
        """The log, for reading. It may be a copy that has nothing beside it."""
        from gateway.audit.log_files import log_directory, opened_log

        with opened_log(log_directory(self.data.path)) as db:
            yield db


class By(TypedDict):
    """The actor of a change and its organization, which every change takes."""

    actor: str
    organization: str


class ByHome(TypedDict):
    """The same where the whole gateway may be meant, which is no organization."""

    actor: str
    organization: str | None


@dataclass(frozen=True, kw_only=True)
class Ask(Generic[B, Q]):
    """One request of an operator, checked: its body and its query are of these types, or there are none.

    `organization` is None where the whole gateway is meant.
    """

    context: Context
    caller: Caller
    organization: str | None
    path: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    query: Q
    body: B
    matching: Sequence[str] | None = None
    """The entity tags of `If-Match`; None if there is no such header."""
    last_event: str | None = None
    """The id in `Last-Event-ID`, which streams know."""
    before: Sequence[Step] = ()
    after: Sequence[Step] = ()
    deliver: Callable[[Any], None] = lambda _made: None
    """It takes what was made to where it is kept, before it is in force; only whoever asks in this process has one."""

    @property
    def registry(self) -> Registry:
        """For reading."""
        return self.context.registry

    @property
    def actor(self) -> str:
        return self.caller.actor

    @property
    def tenant(self) -> str:
        """The organization, where there must be one."""
        assert self.organization is not None
        return self.organization

    @property
    def by(self) -> By:
        return By(actor=self.actor, organization=self.tenant)

    @property
    def by_home(self) -> ByHome:
        return ByHome(actor=self.actor, organization=self.organization)

    def change(self, *conditions: Step) -> Registry:
        """For one change, under the conditions of every change and these."""
        from gateway.registry.database import GuardedRegistry

        return GuardedRegistry(self.context.registry, [*self.before, *conditions], self.after)

    def check_tag(self, current: str) -> None:
        """Raise `Problem` 412 unless the thing is as the client has seen it, if it said how."""
        if self.matching is not None and "*" not in self.matching and current not in self.matching:
            raise Problem(
                412,
                "changed_meanwhile",
                "it has been changed since it was read",
                hint="read it again, and send its new ETag in If-Match",
            )

    def check_also_reads(self, *nouns: str) -> None:
        """Raise `Problem` 403 unless the token is for reading these nouns, too: the answer tells of them."""
        scopes = self.caller.token.scopes
        for noun in nouns:
            if not operator_roles.within(scopes, noun, write=False):
                detail = f"this token is for {', '.join(scopes or ())}: it may not read {noun}"
                raise Problem(403, "token_scope", detail, hint="use a token for that")

    def as_seen(self, find: Callable[[Session, Any, str], Any], name: str) -> Step:
        """The condition that what `find` finds in the organization is as the client has seen it."""
        from gateway.registry.queries import find_organization

        def current(session: Session) -> str:
            tenant = None if self.organization is None else find_organization(session, self.organization)
            row = find(session, tenant, name)
            return tag(row.version, default=getattr(row, "is_default", False))

        return self.if_match(current)

    def if_match(self, current: Callable[[Session], str]) -> Step:
        """The condition that the thing is as the client has seen it."""
        return lambda session: self.check_tag(current(session))


class Page(TypedDict, Generic[T]):
    """A part of a list, and where it goes on."""

    items: Sequence[T]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[A]):
    """The answer of an operation.

    `body` is JSON. A stream's body is a feed. `location` is the path of the thing that the operation has created, if it
    creates one.
    """

    body: A
    tag: str | None = None
    location: str | None = None


def tag(version: int, *, default: bool = False) -> str:
    """The entity tag of a version of a thing. Another one that becomes the default changes it without a new version."""
    return f'"{version}-default"' if default else f'"{version}"'


@dataclass(kw_only=True, eq=False)
class Operation:
    """One method of one path, such as "GET /agents": the decorator of the function that carries it out.

    `noun` says which right it takes; by default it is the first part of the path. `summary` is by default the first
    paragraph of the function's docstring. `question` is what people ask and this answers, for assistants that look for
    it. `tool` is its name for them, if the one that follows from the path would mislead. `answer` is the schema of what
    it answers, unless that follows from the type: `Answer[AgentRecord]`, `Answer[Page[AgentRecord]]`.

    `about` says which organization it is about: that of the parameter `organization` ("tenant"), the same or the whole
    gateway if there is no parameter ("home"), none ("nothing"), or the whole gateway, and only its operators may
    ("gateway"). `restricts` is a change that takes something away and so must not wait for the log, or a function of
    the body that tells. `if_match` says whether the client must name the version that it has seen. One that `streams`
    answers with a feed of events (`event_streams.py`). A body has at most `most_bytes` and `most_values`. A `heavy` one
    takes seconds, so few are carried out at a time. One that `waits_for_others` takes as long as a server elsewhere
    likes, so it has a place of its own or is refused. One that `changes_nothing` is a POST only because it has a body.
    One `by_people` is a person's own decision, which no assistant makes for them.
    The answer of one that `reveals` what is sealed is kept for no repeated request, and the member of an answer that is
    told `once` is not kept either.
    A `public` one needs no token: its function gets a `Visit` (`logins.py`), and is awaited. One that is only `here` is
    for commands on the gateway's machine, and not served.
    """

    where: str = field(kw_only=False)
    answer: Schema | None = None
    noun: str = ""
    summary: str = ""
    question: str = ""
    tool: str = ""
    status: int = 200
    most_bytes: int = MAX_BODY
    most_values: int = strict_json.MAX_VALUES
    heavy: bool = False
    waits_for_others: bool = False
    changes_nothing: bool = False
    by_people: bool = False
    reveals: bool = False
    once: str | None = None
    about: Literal["tenant", "home", "nothing", "gateway"] = "tenant"
    restricts: bool | Callable[[Any], bool] = False
    if_match: Literal["required", "accepted"] | None = None
    tagged: bool = False
    streams: bool = False
    public: bool = False
    here: bool = False
    method: str = field(init=False)
    path: str = field(init=False)
    function: Callable[[Any], Any] = field(init=False)

    def __post_init__(self) -> None:
        self.method, _, self.path = self.where.partition(" ")
        self.noun = self.noun or self.path.split("/")[1]

    def __call__(self, function: F) -> F:
        self.function = function
        self.summary = self.summary or (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
        DECLARED[function.__module__].append(self)
        return function

    @cached_property
    def _types(self) -> tuple[Any, ...]:
        """The types of its body and query, as the function's parameter names them: `Ask[NewAgent]`."""
        asked = next(iter(self.function.__annotations__.values()))
        return get_args(eval(asked, self.function.__globals__))  # noqa: S307  # a line of this program

    @cached_property
    def answered(self) -> Schema:
        """The schema of what it answers."""
        if self.answer is not None:
            return self.answer
        (kind,) = get_args(eval(self.function.__annotations__["return"], self.function.__globals__))  # noqa: S307
        return shapes.page(shapes.record(*get_args(kind))) if get_origin(kind) is Page else shapes.record(kind)

    @cached_property
    def body(self) -> type[Body] | None:
        return next((each for each in self._types if isinstance(each, type) and issubclass(each, Body)), None)

    @cached_property
    def query(self) -> type[Query]:
        return next((each for each in self._types if isinstance(each, type) and issubclass(each, Query)), Query)

    @property
    def of_an_organization(self) -> bool:
        """True if it has the parameter `organization`."""
        return self.about in ("tenant", "home")

    @property
    def writes(self) -> bool:
        return self.method != "GET" and not self.changes_nothing

    def is_restriction(self, body: Any) -> bool:
        """True if, with this body, it takes something away and so must not wait for the log."""
        return self.restricts(body) if callable(self.restricts) else self.restricts

    @property
    def repeatable(self) -> bool:
        """True if it takes an `Idempotency-Key`."""
        return self.method == "POST" and self.writes and not self.public and not self.reveals

    @cached_property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return re.findall(r"\{(\w+)\}", self.path)


DECLARED: Final[defaultdict[str, list[Operation]]] = defaultdict(list)
"""The operations of each module of `api/`, in the order of its file."""


def kept(ask: Ask, make: Callable[[], Any], *question: Hashable) -> KeptAnswer:
    """The answer to a question that takes long, as it was last made. Raises `Problem` while it is made first."""
    found = ask.context.kept.get(question, make)
    if found is None:
        raise Problem(503, "overloaded", "this is being added up in the background", hint="try again in a moment")
    return found


def position(ask: Ask[object, PageQuery], *place: str) -> Any:
    """The position after which a page of the list `place` begins; None for the first page."""
    cursor = ask.query.cursor
    return None if cursor is None else ask.context.cursors.open(cursor, ask.organization or "", *place)


def paged(ask: Ask, items: Sequence[T], last: Any, *place: str) -> Answer[Page[T]]:
    """A page of the list `place` that ends at the position `last`; None if no other follows."""
    following = None if last is None else ask.context.cursors.seal(last, ask.organization or "", *place)
    return Answer(body={"items": items, "next": following})


def cut(ask: Ask[object, PageQuery], items: Sequence[T], key: Callable[[T], Any], *place: str) -> Answer[Page[T]]:
    """One page of a whole list, which is in the order of `key`."""
    start, after = 0, position(ask, *place)
    if after is not None:
        start = next((number for number, each in enumerate(items) if key(each) > after), len(items))
    shown = items[start : start + ask.query.limit]
    more = start + len(shown) < len(items)
    return paged(ask, shown, key(shown[-1]) if more else None, *place)
