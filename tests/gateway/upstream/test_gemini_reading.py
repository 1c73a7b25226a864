"""The judged call is what a lenient server would read: random bodies, read in very different manners.

The readers here fold names as no documented server does: case, underscores and signs do not matter, and of two members
that then have one name the first or the last counts. A body that the provider takes must look the same to both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.call import Call
from gateway.errors import Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import routes_of

PROVIDER = PROVIDERS["gemini"]
PATH = "/v1beta/models/gemini-2.5-flash:generateContent"


class Writer:
    """Writes bodies with names in all kinds of spellings."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._honest = self._dice.random() < 0.5

    def body(self) -> dict[str, Any]:
        return self.members(
            contents=[self.content() for _ in range(self._dice.randint(1, 2))],
            systemInstruction=self.content(),
            tools=[self.tool() for _ in range(self._dice.randint(0, 3))],
            generationConfig=self.members(maxOutputTokens=self._dice.randint(1, 999), candidateCount=2),
            cachedContent="cachedContents/" + self.word(),
            model=self._dice.choice(["models/gemini-2.5-flash", "models/gemini-2.5-pro"]),
        )

    def content(self) -> dict[str, Any]:
        return self.members(parts=[self.part() for _ in range(self._dice.randint(1, 2))])

    def part(self) -> dict[str, Any]:
        file = self.members(fileUri="files/" + self.word(), mimeType="image/png")
        return self.members(text=self.word(), fileData=file, functionResponse=self.members(parts=[{"fileData": file}]))

    def tool(self) -> dict[str, Any]:
        declared = [self.members(name=self.word()) for _ in range(self._dice.randint(1, 2))]
        store = self.members(fileSearchStoreNames=[self.word()])
        return self.members(functionDeclarations=declared, googleSearch={}, codeExecution={}, fileSearch=store)

    def members(self, **all_of_them: Any) -> dict[str, Any]:
        """Some of these members, some of them twice."""
        found: dict[str, Any] = {}
        for name, value in all_of_them.items():
            if name in ("contents", "name", "fileUri", "parts") or self._dice.random() < 0.6:
                found[self.spelled(name)] = value
            if not self._honest and self._dice.random() < 0.03:
                found[self.spelled(name)] = value
        return found

    def spelled(self, name: str) -> str:
        snake = re.sub("[A-Z]", lambda upper: "_" + upper[0].lower(), name)
        if self._honest or self._dice.random() < 0.97:
            return self._dice.choice([name, snake])
        strange = [
            name.upper(),
            name.lower(),
            snake.replace("_", "-"),
            name[0].upper() + name[1:],
            name + "_",
            "_" + snake,
        ]
        return self._dice.choice(strange)

    def word(self) -> str:
        return self._dice.choice(["alpha", "beta", "gamma"])


class Lenient:
    """Reads objects by folded names; of several members of one name it takes the first or the last."""

    def __init__(self, *, last: bool) -> None:
        self._last = last

    def get(self, item: Any, name: str) -> Any:
        values = [value for key, value in item.items() if fold(key) == fold(name)]
        return values[-1 if self._last else 0] if values else None

    def facts(self, body: dict[str, Any]) -> dict[str, Any]:
        config = self.get(body, "generationConfig") or {}
        limit = self.get(config, "maxOutputTokens")
        tools = self.get(body, "tools") or []
        contents = [*self.get(body, "contents"), *filter(None, [self.get(body, "systemInstruction")])]
        return {
            "limit": None if limit is None else limit * (self.get(config, "candidateCount") or 1),
            "functions": sorted(
                self.get(each, "name") for tool in tools for each in self.get(tool, "functionDeclarations") or ()
            ),
            "hosted": sorted(
                fold(name)
                for tool in tools
                for name in ("googleSearch", "codeExecution", "fileSearch")
                if self.get(tool, name) is not None
            ),
            "files": sorted(uri for content in contents for uri in self.files(content)),
            "stores": sorted(
                name
                for tool in tools
                for name in self.get(self.get(tool, "fileSearch") or {}, "fileSearchStoreNames") or ()
            ),
            "cached": self.get(body, "cachedContent"),
            "model": (self.get(body, "model") or "models/gemini-2.5-flash").removeprefix("models/"),
            "prompts": int(self.get(body, "systemInstruction") is not None),
        }

    def files(self, content: dict[str, Any]) -> Iterator[str]:
        for part in self.get(content, "parts") or ():
            if (file := self.get(part, "fileData")) is not None:
                yield self.get(file, "fileUri")
            if (inner := self.get(part, "functionResponse")) is not None:
                yield from self.files(inner)


def fold(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def judged(call: Call) -> dict[str, Any]:
    by_kind: dict[str, list[str]] = {"file": [], "file_search_store": [], "cached_content": []}
    for each in call.references:
        by_kind[each.kind].append(each.id)
    return {
        "limit": call.max_output_tokens,
        "functions": sorted(tool.name for tool in call.tools if tool.type == "function"),
        "hosted": sorted(fold(tool.type) for tool in call.tools if tool.type != "function"),
        "files": sorted(by_kind["file"]),
        "stores": sorted(by_kind["file_search_store"]),
        "cached": by_kind["cached_content"][0] if by_kind["cached_content"] else None,
        "model": call.model,
        "prompts": len(call.system_prompts),
    }


def read(path: str, raw: bytes) -> Call:
    found = routes_of(PROVIDER).find("POST", path)
    assert found is not None
    return PROVIDER.read(Endpoint("g", found[0], path, found[1]), RequestHead(), raw)


@pytest.mark.parametrize("round_", range(4))
def test_what_is_taken_looks_the_same_to_every_reader(round_: int) -> None:
    taken = refused = 0
    for seed in range(round_ * 500, round_ * 500 + 500):
        body = Writer(seed).body()
        try:
            call = read(PATH, strict_json.dump(body))
        except Denied:
            refused += 1
            continue
        taken += 1
        for last in (True, False):
            assert Lenient(last=last).facts(body) == judged(call), (seed, body)
    assert min(taken, refused) > 50


def test_what_is_changed_reads_as_it_was_meant() -> None:
    edits = Edits(max_output_tokens=40, strip_tools=frozenset({"alpha", "googleSearch"}), model="gemini-2.5-pro")
    changed_calls = 0
    for seed in range(1000):
        try:
            call = read(PATH, strict_json.dump(Writer(seed).body()))
        except Denied:
            continue
        changed, names = PROVIDER.edit(call, edits)
        assert read(changed.path, changed.raw) == changed, seed
        assert (changed.model, changed.max_output_tokens) == ("gemini-2.5-pro", min(call.max_output_tokens or 40, 40))
        assert not {tool.name or tool.type for tool in changed.tools} & edits.strip_tools
        assert PROVIDER.edit(changed, edits) == (changed, ())
        changed_calls += "strip_tools" in names
    assert changed_calls > 100
