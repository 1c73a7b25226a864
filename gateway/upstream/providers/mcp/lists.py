"""The answer to `tools/list`: an agent is shown the tools that are approved and that its policies could allow.

The server's own list is read, never another one, so a tool that was changed behind its pin is found here as well. The
answer is always written anew: bytes that one reader takes for another list than the gateway has judged reach nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from gateway.call import Call
from gateway.mcp.messages import Id
from gateway.mcp.pins import MAX_BYTES, Pin, definition, tool_digest
from gateway.upstream import sse
from gateway.upstream.guards import CallGuard, GuardTap, Shown, Sighting
from gateway.upstream.providers.mcp.answers import AnswerTap, StreamTap, error
from gateway.upstream.taps import Event, ProviderReport, json_object

MOST_TOOLS: Final = 10_000
"""A list of more is refused whole: to judge it would take longer than anybody waits."""


class ToolGuard(CallGuard):
    """The guard of one list: `call` is the call of a tool of that name without arguments."""

    def __init__(self, message_id: Id, pins: Mapping[str, Pin], call: Callable[[str], Call], *, trusted: bool) -> None:
        self._id = message_id
        self._pins = pins
        self._call = call
        self._trusted = trusted

    def tap(self, kind: bytes, shown: Callable[[Call], Shown], note: Sighting) -> GuardTap:
        tools = _ToolList(self._id, self._pins, lambda name: shown(self._call(name)), note, trusted=self._trusted)
        return _ListStream(self._id, tools) if kind == b"text/event-stream" else _ListDocument(self._id, tools)


class _ToolList:
    """Filters one list. `shown` asks the policies of one agent about a tool; `note` hears of those with another pin."""

    def __init__(
        self, message_id: Id, pins: Mapping[str, Pin], shown: Callable[[str], Shown], note: Sighting, *, trusted: bool
    ) -> None:
        self._id = message_id
        self._pins = pins
        self._shown = shown
        self._note = note
        self._trusted = trusted
        self.remark = ""

    def filtered(self, document: dict[str, Any]) -> bytes:
        """The answer with the tools that the agent is shown."""
        result = document.get("result")
        if not isinstance(result, dict):
            return orjson.dumps(document)
        listed = result.get("tools")
        tools = listed if isinstance(listed, list) else []
        if len(tools) > MOST_TOOLS:
            return orjson.dumps(error(self._id, f"the server lists more than {MOST_TOOLS} tools"))
        approved = [each for each in tools if self._approved(each)]
        answers = {name: self._shown(name) for name in dict.fromkeys(str(each["name"]) for each in approved)}
        result["tools"] = [each for each in approved if answers[each["name"]] is not Shown.NO]
        if "cacheScope" in result or "ttlMs" in result or "resultType" in result:
            result["cacheScope"] = "private"  # another agent may be shown other tools
        unsure = sum(each is Shown.UNKNOWN for each in answers.values())
        self.remark = f"of {len(tools)} tools {len(result['tools'])} are shown"
        if len(approved) < len(tools):
            self.remark += f"; {len(tools) - len(approved)} are not approved"
        if unsure:
            self.remark += f"; of {unsure} policies could not tell without their arguments"
        return orjson.dumps(document)

    def _approved(self, tool: object) -> bool:
        """True if a tool of the list may be shown: it is what was approved, or its server is trusted."""
        if not isinstance(tool, dict) or not isinstance(name := tool.get("name"), str):
            return False
        try:
            digest = tool_digest(tool)
        except ValueError:
            return False
        pin = self._pins.get(name)
        if pin is not None and pin.digest == digest:
            return self._trusted or pin.state == "pinned"
        if len(text := definition(tool)) <= MAX_BYTES:
            self._note(digest, text.decode())
        return self._trusted


class _ListDocument(AnswerTap):
    def __init__(self, message_id: Id, tools: _ToolList) -> None:
        super().__init__(message_id, failed=False)
        self.tools = tools

    def told(self, whole: bytes, document: dict[str, Any]) -> bytes:
        found = self.tools.filtered(document)
        self.remark = self.tools.remark
        return found


class _ListStream(StreamTap):
    """Of what follows the answer nothing is sent: it could be another list."""

    def __init__(self, message_id: Id, tools: _ToolList) -> None:
        super().__init__(message_id)
        self.tools = tools
        self._answer = b""
        self.remark = ""

    def _event(self, event: bytes, report: ProviderReport) -> Event:
        found = super()._event(event, report)
        if found is Event.END and not self._answer:
            self._answer = event
        return found

    def finish(self) -> bytes:
        rest = super().finish()
        document = json_object(sse.data_of(self._answer)) if self._answer else None
        if document is None:
            return rest
        lines = [line for line in self._answer.splitlines() if line and not line.startswith(b"data")]
        found = self.tools.filtered(document)
        self.remark = self.tools.remark
        return b"\n".join([*lines, b"data: " + found, b"", b""])
