"""The content of calls of agents that opted in, on its way into the log: redacted, sealed, and capped in size.

The request is kept as it was judged, the answer as the client got it: of an event stream the texts that its pieces make
(`stream_texts`), because a pattern could not match what is spread over two events. A part is kept whole or not at
all; then the entry says why (`content_omitted`). An answer counts in the worker's budget of held bytes until its entry
is durable. Specification: content.md.
"""

from __future__ import annotations

import logging
from typing import Any, Final, TypeAlias

import orjson

from gateway.audit import content
from gateway.audit.content import ANSWER, REQUEST, Sealed
from gateway.audit.redaction import Redactor
from gateway.body import Body
from gateway.dataplane.held_bytes import Holding
from gateway.errors import GatewayError
from gateway.identity.principals import KeptContent, Principal
from gateway.registry.agents import content_keys
from gateway.secrets.vault import Vault

logger = logging.getLogger("gateway.dataplane.content")

Members: TypeAlias = dict[str, str | int | bool | None]
_OMITTED: Final = "content_omitted"
_MAX_KEYS: Final = 4096


class Contents:
    """Decides which content one worker keeps, and holds the opened keys of its agents."""

    def __init__(self, vault: Vault, most: int) -> None:
        """`most` is the size of a part that is kept, in bytes."""
        self._vault = vault
        self._most = most
        self._keys: dict[bytes, bytes] = {}  # by their sealed forms

    def of(self, principal: Principal, decision: str, holding: Holding) -> Keeping:
        """The `Keeping` for the content of one call of an agent that opted in. `holding` is for its answer."""
        setting = principal.content
        assert setting is not None
        return Keeping(principal, decision, setting, self._key(principal, setting), self._most, holding)

    def _key(self, principal: Principal, setting: KeptContent) -> bytes | None:
        if (key := self._keys.get(setting.sealed_key)) is not None:
            return key
        try:
            key = content_keys.opened(self._vault, setting.sealed_key, principal.organization, principal.agent_id)
        except (GatewayError, ValueError) as error:
            logger.error("the content of agent %s is not kept: %s", principal.name, error)
            return None
        if len(self._keys) >= _MAX_KEYS:
            self._keys.clear()
        self._keys[setting.sealed_key] = key
        return key


class Keeping:
    """The content of one call."""

    def __init__(
        self,
        principal: Principal,
        decision: str,
        setting: KeptContent,
        key: bytes | None,
        most: int,
        holding: Holding,
    ) -> None:
        self._organization, self._agent, self._decision = principal.organization, principal.agent_id, decision
        self._setting = setting
        self._key = key
        self._most = most
        self._holding = holding
        self._kind = ""
        self._pieces: list[bytes] = []
        self._size = 0
        # The reason why the answer is not kept; empty if it is.
        self._omitted = ""
        # The request is kept as it was judged, so that the decision can be computed again.
        self.whole = False

    def request(self, raw: Body) -> tuple[Sealed | None, Members]:
        """The request, sealed, with what its entry says about it."""
        if not raw:
            return None, {}
        if len(raw) > self._most:
            return None, {_OMITTED: "too_large"}
        kept, members = self._part(REQUEST, raw if isinstance(raw, bytes) else raw.read(), stream=False)
        self.whole = kept is not None and "content_redacted" not in members
        return kept, members

    def settings(self, kept_input: bytes) -> bytes:
        """The part of an input that the log keeps, without what the patterns match in the settings of the call.

        Ids of end users stand there, for instance. A decision cannot be computed again from redacted settings.
        """
        redactor = Redactor(self._setting.redact)
        if not redactor:
            return kept_input
        document: Any = orjson.loads(kept_input)
        document["resource"]["params"] = redactor.document(document["resource"]["params"])
        if not redactor.count:
            return kept_input
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)

    def begin_answer(self, kind: str) -> None:
        """The answer begins; `kind` is its content type."""
        self._kind = kind.partition(";")[0].strip().lower()
        self._pieces, self._size, self._omitted = [], 0, ""

    def add(self, piece: bytes) -> None:
        """The next bytes of the answer. It is relayed whether or not there is room to keep it."""
        self._size += len(piece)
        if self._omitted:
            return
        if self._key is None:
            self._omitted = "key_unreadable"
        elif self._size > self._most:
            self._omitted = "too_large"
        elif not self._holding.keep(self._size):
            self._omitted = "no_memory"
        else:
            self._pieces.append(piece)
            return
        self._pieces.clear()
        self._holding.release()

    def release(self) -> None:
        """Give back what the answer holds: its entry is durable, or there will be none. May be called again."""
        self._pieces = []
        self._holding.release()

    def answer(self) -> tuple[Sealed | None, Members]:
        """The answer as far as it came, sealed, with what its entry says about it."""
        if not self._size:
            return None, {}
        if self._omitted:
            return None, {_OMITTED: self._omitted}
        raw = b"".join(self._pieces)
        self._pieces = []
        return self._part(ANSWER, raw, stream=self._kind == "text/event-stream")

    def _part(self, part: str, raw: bytes, *, stream: bool) -> tuple[Sealed | None, Members]:
        if self._key is None:
            return None, {_OMITTED: "key_unreadable"}
        redactor = Redactor(self._setting.redact)
        members: Members = {}
        try:
            if stream:
                text = orjson.dumps(redactor.document(stream_texts(raw)))
            else:
                document: Any = orjson.loads(raw)
                text = orjson.dumps(redactor.document(document)) if redactor else raw
                text = text if redactor.count else raw
        except (ValueError, RecursionError, orjson.JSONEncodeError):  # `JSONEncodeError` is no ValueError
            return None, {_OMITTED: "not_json"}
        if redactor.count:
            members["content_redacted"] = redactor.count
        sealed = content.seal(
            self._key,
            text,
            organization=self._organization,
            agent=self._agent,
            decision=self._decision,
            part=part,
        )
        return Sealed(agent=self._agent, data=sealed, days=self._setting.days), members


_TEXTS: Final = frozenset(
    {
        *("arguments", "code", "content", "data", "delta", "error", "message", "name", "partial_json"),
        *("reasoning", "reasoning_content", "refusal", "text", "thinking", "transcript"),
    }
)
_DOCUMENTS: Final = frozenset({"args", "input"})  # of tool calls that come whole
_INDEXES: Final = ("output_index", "content_index", "index")
# Characters of a place. No provider's has a tenth of them, and each of a hundred thousand members may be below it.
_LONGEST: Final = 1024


def stream_texts(raw: bytes) -> dict[str, Any]:
    """The texts of a stream by their places, and the number of its events: pieces that belong together, put together.

    Every provider's events are JSON objects in which the same place gets one piece after the other. A place is named by
    the members on the way to it and by the indexes that the objects on that way give themselves. Members that only
    describe the stream (ids, models, times, usage) are in the log's entry and are left out.
    """
    events = 0
    texts: dict[str, list[str]] = {}
    for event in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if not data:
            continue
        events += 1
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            if data != b"[DONE]":
                texts.setdefault("data", []).append(data.decode("utf-8", "replace"))
            continue
        kind = document.get("type") if isinstance(document, dict) else None
        _collect(document, kind if isinstance(kind, str) else "", texts)
    return {"events": events, "texts": {place: "".join(pieces) for place, pieces in texts.items()}}


def _collect(value: Any, place: str, texts: dict[str, list[str]]) -> None:
    if len(place) > _LONGEST:
        return
    if isinstance(value, dict):
        place += "".join(f"[{value[name]}]" for name in _INDEXES if isinstance(value.get(name), int))
        for name, each in value.items():
            inner = f"{place}.{name}" if place else name
            if isinstance(each, str):
                if name in _TEXTS:
                    texts.setdefault(inner, []).append(each)
            elif name in _DOCUMENTS and each:
                texts.setdefault(inner, []).append(orjson.dumps(each).decode())
            else:
                _collect(each, inner, texts)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            indexed = isinstance(each, dict) and isinstance(each.get("index"), int)
            _collect(each, place if indexed else f"{place}[{at}]", texts)
