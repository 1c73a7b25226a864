"""Pages ask operations of the API, in this process, as the person who looks at them, and nothing else.

A page has no query and no right of its own. It shows the API's answer to this person, which is JSON, and the API's
refusals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import orjson

from gateway.control.callers import Caller, may
from gateway.control.operations import PREFIX
from gateway.control.problems import Problem

ROOT: Final = "/dashboard"


class OperationReply(NamedTuple):
    """The answer of an operation: its JSON, its entity tag, and what there is to know beside it."""

    document: Any
    tag: str
    warnings: list[str]


Asked: TypeAlias = Callable[[Caller, str, str, bytes, Mapping[bytes, bytes], bytes], Awaitable[OperationReply]]
"""An operation, by its caller, method, path, query, headers and body."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One visit of a page: who looks, at which organization, and with what."""

    caller: Caller
    organization: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    address: str
    """The path of the page itself."""
    csrf: str
    door: Asked
    warnings: list[str] = field(default_factory=list)
    made: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def base(self) -> str:
        """The path of the organization's pages."""
        return f"{ROOT}/o/{quote(self.organization, safe='')}"

    @property
    def home(self) -> str | None:
        """The organization that the page is about; None on a page of the whole gateway."""
        return self.organization if self.address.startswith(f"{ROOT}/o/") else None

    def place(self, *path: str) -> str:
        """The address of a page of this organization, or of the whole gateway if this is one of those."""
        return self.link(*path) if self.home is not None else below(ROOT, *path)

    def link(self, *path: str, **query: Any) -> str:
        """The address of a page of this organization."""
        return below(self.base, *path) + _string(query)

    def again(self, **query: Any) -> str:
        """The address of this page with other parameters beside its own."""
        return self.address + _string({**self.query, **query})

    def may(self, noun: str, *, write: bool = False) -> bool:
        """True if it makes sense to offer this to the person; the operation decides."""
        return may(self.caller, noun, write=write)

    async def get(self, *path: str, **query: Any) -> Any:
        """The answer of an operation about this organization."""
        return (await self._ask("GET", path, {"organization": self.organization, **query})).document

    async def get_all(self, *path: str, **query: Any) -> Any:
        """The answer of an operation that is about no organization, or about the caller's own place."""
        return (await self._ask("GET", path, query)).document

    async def read(self, *path: str, **query: Any) -> OperationReply:
        """The answer with the tag of its version."""
        return await self._ask("GET", path, query)

    async def get_kept(self, ask: Callable[..., Awaitable[Any]], *path: str, **query: Any) -> Any:
        """What was last made of an answer that may take long; None while it is made for the first time."""
        try:
            return await ask(*path, kept=True, **query)
        except Problem as problem:
            if problem.code != "overloaded":
                raise
            return None

    async def send(self, method: str, *path: str, body: Any = None, match: str = "", **query: Any) -> Any:
        """A change, under the key of its form: one that was sent twice is made once."""
        query = {"organization": self.organization, **query}
        return (await self._ask(method, path, query, body, match)).document

    async def send_all(self, method: str, *path: str, body: Any = None) -> Any:
        """A change that is about no organization, under the key of its form."""
        return (await self._ask(method, path, {}, body)).document

    async def _ask(
        self, method: str, path: tuple[str, ...], query: Mapping[str, Any], body: Any = None, match: str = ""
    ) -> OperationReply:
        headers = {b"content-type": b"application/json"}
        if match:
            headers[b"if-match"] = match.encode()
        if method == "POST" and (once := self.form.get("once")):
            # One form may make several changes, each of which has a key of its own.
            self.made.append(path)
            headers[b"idempotency-key"] = f"{once[:64]}-{len(self.made)}".encode("ascii", "replace")
        raw = b"" if body is None else orjson.dumps(body)
        string = _string(query).removeprefix("?").encode()
        reply = await self.door(self.caller, method, below(PREFIX, *path), string, headers, raw)
        self.warnings.extend(reply.warnings)
        return reply


def below(base: str, *path: str) -> str:
    return "/".join((base, *(quote(part, safe="") for part in path)))


def _string(query: Mapping[str, Any]) -> str:
    """Parameters after a `?`. Those that are None or empty are left out."""
    given = {name: _text(value) for name, value in query.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
