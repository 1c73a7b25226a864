"""The call that people approve: the digest that another call must match to be the same, and what reviewers see (pure).

Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.audit.approval_scope import widest
from gateway.audit.entry import commitment
from gateway.body import Body
from gateway.policy.approvals import Requirement, documents

MAX_BODY: Final = 1024 * 1024
"""A larger body cannot be reviewed."""

_DOMAIN: Final = "agent identity gateway: approval of a call, 1"
_PATTERN_DOMAIN: Final = "agent identity gateway: approval of calls that are alike, 1"
# They identify or trace one attempt, or are the gateway's own.
_OF_THE_ATTEMPT: Final = frozenset(
    {"idempotency-key", "traceparent", "tracestate", "user-agent", "accept-encoding", "x-stainless-retry-count"}
    | {"mcp-session-id"}
)


@dataclass(frozen=True, slots=True)
class RawCall:
    """A call as its client sent it: everything that a person approves, and so everything that may not change."""

    organization: str
    agent_id: str
    # The agent acts for these: the agents that have handed their rights on, and the person (issuer and subject).
    delegation: Sequence[Any]
    person: tuple[str, str] | None
    upstream_id: str
    base_url: str
    action: str
    method: str
    path: str
    query: Mapping[str, str]
    # Those that go upstream.
    headers: Mapping[str, str]
    content_type: str
    body: Body = field(repr=False)
    # What the body asks for, without what differs from one attempt to the next; None if that is all of it.
    essence: bytes | None = field(default=None, repr=False)

    @property
    def kept_headers(self) -> dict[str, str]:
        """The headers by which one call differs from another."""
        lower = {name.lower(): value for name, value in self.headers.items()}
        return {name: value for name, value in sorted(lower.items()) if name not in _OF_THE_ATTEMPT}

    def digest(self, requirements: Sequence[Requirement]) -> bytes:
        """The same for the same call, as long as policies demand the same. Reads the body once, which may be long."""
        whole = [
            _DOMAIN,
            self.organization,
            self.agent_id,
            self.delegation,
            self.person,
            self.upstream_id,
            self.base_url,
            self.method,
            self.path,
            sorted(self.query.items()),
            self.kept_headers,
            self.content_type,
            *self._asked(),
            documents(requirements),
        ]
        return hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).digest()

    def _asked(self) -> tuple[int, str]:
        body = self.body if self.essence is None else self.essence
        return len(body), _body_digest(body)

    def pattern_digest(self, requirements: Sequence[Requirement]) -> bytes | None:
        """The same for all calls that one approval may be for; None if it may be for this very call only.

        The policies say what is alike, and nothing but their text tells one pattern from another. Beside it the same
        agent, persons, upstream and action are held fast.
        """
        demanded = documents(requirements)
        if not widest(demanded).pattern:
            return None
        whole = [
            _PATTERN_DOMAIN,
            self.organization,
            self.agent_id,
            self.delegation,
            self.person,
            self.upstream_id,
            self.base_url,
            self.action,
            demanded,
        ]
        return hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).digest()

    def shown(self) -> str:
        """The call as reviewers see it, as text to be sealed."""
        body = self.body if isinstance(self.body, bytes) else self.body.read()
        document = {
            "delegation": list(self.delegation),
            "on_behalf_of": None if self.person is None else {"issuer": self.person[0], "subject": self.person[1]},
            "method": self.method,
            "path": self.path,
            "query": dict(self.query),
            "headers": self.kept_headers,
            "content_type": self.content_type,
            "body": base64.b64encode(body).decode(),
        }
        return orjson.dumps(document).decode()


def opened(text: str) -> dict[str, Any]:
    """The document that `RawCall.shown` has made: the body as text, or as base64 where it is none."""
    found: dict[str, Any] = orjson.loads(text)
    raw = base64.b64decode(found.pop("body"))
    try:
        return found | {"body": raw.decode(), "body_base64": None}
    except UnicodeDecodeError:
        return found | {"body": None, "body_base64": base64.b64encode(raw).decode()}


def committed(salt: bytes, digest: bytes) -> str:
    """The commitment to a call in the log: nothing can be told from it without the salt."""
    return commitment(salt, "approval_call", digest)


def committed_pattern(salt: bytes, digest: bytes | None) -> str:
    """The same of a pattern; empty if there is none."""
    return "" if digest is None else commitment(salt, "approval_pattern", digest)


def committed_person(salt: bytes, person: Sequence[str] | None) -> str:
    """The same of a person, by issuer and subject: so it can be told whether a reviewer is that person."""
    return "" if person is None else commitment(salt, "approval_person", orjson.dumps(list(person)))


def _body_digest(body: Body) -> str:
    digest = hashlib.sha256()
    pieces: Iterable[bytes] = (body,) if isinstance(body, bytes) else body.windows()
    for each in pieces:
        digest.update(each)
    return digest.hexdigest()
