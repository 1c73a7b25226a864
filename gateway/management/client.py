"""Sends the requests of commands to a gateway's operations (`control/api/`), by one of two transports.

With a server they go over HTTP (`http.py`), otherwise they are carried out in this process (`in_process.py`). A command
cannot tell the two apart: both answer with the same documents and raise the same `GatewayError`s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

from gateway.errors import GatewayError

T = TypeVar("T")

_NOT_FOR_THIS_TOKEN: Final = ("token_scope", "forbidden")


class AnswerDocument(dict[str, Any]):
    """An object in an answer. A member that a gateway of another version leaves out is an error that says so."""

    def __missing__(self, name: str) -> Any:
        raise incomplete([name])

    def __or__(self, more: Mapping[str, Any]) -> AnswerDocument:  # type: ignore[override]  # a document stays one
        return AnswerDocument({**self, **more})

    def without(self, *names: str) -> AnswerDocument:
        return AnswerDocument({name: value for name, value in self.items() if name not in names})


def incomplete(missing: Sequence[str]) -> GatewayError:
    """The error for an answer without these members. A change may have been made before, or be still to come."""
    names = ", ".join(f"`{each}`" for each in missing)
    message = f"the gateway is older than this command: its answer lacks {names}"
    hint = "look whether it has changed anything; upgrade the gateway, or use a command line of its version"
    return GatewayError("older_gateway", message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request. `path` has its parts as they are, and `match` is an entity tag, or empty.

    One that must be sent `once` is not repeated. `key` is its idempotency key, if it was sent before, and its answer
    may take `seconds` to come. `deliver` takes what an operation makes to where it is kept, before it is in force;
    over HTTP that cannot be.
    """

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    match: str = ""
    once: bool = False
    key: str | None = None
    seconds: float | None = None
    deliver: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The JSON of an answer, the version that it is of, and what there is to know beside it."""

    body: Any
    tag: str
    warnings: Sequence[str] = ()


class ApiError(GatewayError):
    """A problem that the gateway has answered, with its HTTP status and the members that are wrong."""

    def __init__(self, code: str, message: str, hint: str, status: int, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(code, message, hint=hint)
        self.status = status
        self.errors = errors


class Transport(Protocol):
    """Carries requests to their operations."""

    page: int
    """The most items of one page."""
    is_here: bool
    """True if they are carried out in this process."""

    def exchange(self, request: ApiRequest) -> Reply:
        """Raises `GatewayError` with the code, the text and the hint of the problem."""

    def no_list(self) -> GatewayError:
        """The error for an answer that should be a page of a list, and is none."""


class ManagementClient:
    """Used by one thread. `warn` is told what the gateway adds to its answers.

    With an organization it is the one that each request is about, and with a reason each change says it, unless the
    request says otherwise.
    """

    def __init__(
        self,
        transport: Transport,
        warn: Callable[[str, str], None] | None = None,
        organization: str | None = None,
        reason: str | None = None,
    ) -> None:
        self.transport = transport
        self._warn = warn
        self.organization = organization
        self._reason = reason

    def get(self, *path: str, **query: Any) -> AnswerDocument:
        return self.send("GET", *path, **query)

    def pages(
        self, *path: str, most: int | None = None, size: int | None = None, **query: Any
    ) -> Iterator[AnswerDocument]:
        """The pages of a list, of `size` items each, until it ends or has `most` items."""
        left, size = most, size or self.transport.page
        while True:
            limit = size if left is None else min(size, left)
            page = self.get(*path, **query, limit=limit)
            if not {"items", "next"} <= page.keys():
                raise self.transport.no_list()
            yield page
            if left is not None:
                left -= len(page["items"])
            if page["next"] is None or (left is not None and left <= 0):
                return
            query["cursor"] = page["next"]

    def items(self, *path: str, **query: Any) -> list[AnswerDocument]:
        """All items of a list."""
        return [each for page in self.pages(*path, **query) for each in page["items"]]

    def change(
        self, *thing: str, verb: str = "", body: Mapping[str, Any] | None = None, **query: Any
    ) -> AnswerDocument | None:
        """Change a thing that has versions: what it is then, or None if it was like that already.

        Without a verb its members become what the body says, whatever they were.
        """
        before = self.get(*thing, **query)["version"]
        if verb:
            found = self.send("POST", *thing, verb, body=body, **query)
        else:
            found = self.send("PATCH", *thing, body=body, match="*", **query)
        return None if found["version"] == before else found

    def send(self, method: str, *path: str, **more: Any) -> AnswerDocument:
        """The document that `reply` has."""
        found: AnswerDocument = self.reply(method, *path, **more).body
        return found

    def reply(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        match: str = "",
        once: bool = False,
        key: str | None = None,
        seconds: float | None = None,
        deliver: Callable[[Any], None] | None = None,
        **query: Any,
    ) -> Reply:
        """One request (`ApiRequest`); a parameter that is None is left out."""
        query = {"organization": self.organization} | query
        if self._reason is not None and method == "DELETE":
            query = {"reason": self._reason} | query
        elif self._reason is not None and method != "GET":
            body = {"reason": self._reason, **(body or {})}
        reply = self.transport.exchange(
            ApiRequest(
                method=method,
                path=path,
                query={name: _text(value) for name, value in query.items() if value is not None},
                body=body,
                match=match,
                once=once,
                key=key,
                seconds=seconds,
                deliver=deliver,
            )
        )
        for text in reply.warnings:
            if self._warn is not None:
                self._warn(text, "")
        return reply


def unless_forbidden(ask: Callable[[], T], otherwise: T) -> T:
    """A question beside the one that a command is about; this instead if the token is too narrow to ask it."""
    try:
        return ask()
    except GatewayError as error:
        if error.code not in _NOT_FOR_THIS_TOKEN:
            raise
        return otherwise


def target(path: Sequence[str]) -> str:
    """A path for URLs, part by part."""
    return "".join(f"/{_part(each)}" for each in path)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _part(text: str) -> str:
    """One segment of a path. Segments of dots alone would be resolved as folders are; no name is a blank or nothing."""
    text = text or " "
    return quote(text, safe="").replace(".", "%2E") if not text.strip(".") else quote(text, safe="")
