"""Recorded calls to real providers, and how each of them is made through the gateway.

The recordings are kept beside the repository (`RECORDINGS_DIR`); their own README describes the fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.call import Usage
from gateway.upstream.providers.base import Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import routes_of

COUNT, WITHOUT_BODY = 788, 2
"""The number of recordings, and of those whose request was not kept."""

# The provider, where a path shows another API than the name of its file.
_BY_PATH = {
    "/v1beta/openai/": "gemini-compatible",
    "/groq/openai/v1/": "groq",
    "/google-vertex/": "vertex",
    "/openai/responses": "openai",
}
_BY_FILE = {"google": "gemini"}
_CACHE_WRITES = re.compile(r'"cache_write_tokens": ?(\d+)')
_THOUGHTS = re.compile(r'"thinking_tokens": ?(\d+)')
_TOTAL = re.compile(r'"total_tokens": ?(\d+)')
_ITERATIONS = re.compile(r'"iterations": ?(?=\[)')
# Of Anthropic's iterations, those that the usage beside them leaves out.
_APART = ("advisor_message", "compaction")
_INPUT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(frozen=True)
class Recording:
    """One exchange. `base` is the path of the upstream's base URL with which the call goes where it went."""

    note: str
    recorded: dict[str, Any]
    provider: str
    base: str
    endpoint: Endpoint
    head: RequestHead

    @property
    def body(self) -> bytes:
        return b"" if self.recorded["request"] is None else json.dumps(self.recorded["request"]).encode()

    @property
    def answer(self) -> bytes:
        return str(self.recorded["response"]).encode()

    @property
    def model(self) -> str | None:
        """The model that was asked for: in the path, or in the body."""
        named = self.endpoint.params.get("model") or self.recorded["expect"]["model"]
        return None if named is None else str(named)

    @property
    def usage(self) -> dict[str, int] | None:
        """The billed tokens. The expectations beside the recordings are older: they leave out what is added here.

        OpenAI reports the writing of its cache, Anthropic thoughts and its own calls to models, and Gemini counts
        thoughts in the total alone where it speaks OpenAI's API.
        """
        expected, answer = self.recorded["expect"]["usage"], self.recorded["response"]
        if expected is None:
            return None
        found = dict(expected)
        if (written := _CACHE_WRITES.search(answer)) is not None:
            found["cache_write"] = int(written[1])
        if thoughts := _THOUGHTS.findall(answer):
            found["reasoning"] = int(thoughts[-1])
        if self.provider == "gemini-compatible":
            found["output"] = int(_TOTAL.findall(answer)[-1]) - found["input"]
        for each in _iterations(answer):
            if each["type"] in _APART:
                found["input"] += sum(each[name] for name in _INPUT)
                found["output"] += each["output_tokens"]
        return found


def _iterations(answer: str) -> list[dict[str, Any]]:
    """The last list of iterations in an answer."""
    places = [each.end() for each in _ITERATIONS.finditer(answer)]
    listed = json.JSONDecoder().raw_decode(answer, places[-1])[0] if places else []
    return list(listed)


def all_recordings(folder: Path) -> Iterator[Recording]:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            yield _place(json.loads(line))


def as_recorded(usage: Usage | None) -> dict[str, int] | None:
    """Usage in the words of the recordings."""
    names = ("input", "cached", "cache_write", "output", "reasoning")
    return None if usage is None else {name: getattr(usage, name) for name in names}


def _place(recorded: dict[str, Any]) -> Recording:
    path = str(recorded["path"])
    name = next((name for part, name in _BY_PATH.items() if part in path), None)
    if name is None:
        name = _BY_FILE.get(recorded["provider"], str(recorded["provider"]))
    provider = PROVIDERS[name]
    for at in [found.start() for found in re.finditer("/", path)]:
        for prefix in ("", provider.prefix):
            found = routes_of(provider).find(recorded["method"], prefix + path[at:])
            if found is not None:
                route, params = found
                query = dict(part.split("=", 1) for part in recorded["query"].split("&")) if recorded["query"] else {}
                assert query.keys() <= route.query, path
                base = path[:at] + ("" if prefix else provider.prefix)
                endpoint = Endpoint("x", route, prefix + path[at:], params)
                return Recording(recorded["note"], recorded, name, base, endpoint, RequestHead(query))
    raise AssertionError(f"no route of {name} for {path}")
