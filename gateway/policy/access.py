"""The calls that an agent was allowed and made, and a policy that allows these and no others.

The policy is a guard: bound beside what the agent has, it can only take away. It is tried on the recorded inputs: none
of the agent's calls that were allowed may be denied, and each kind of call that only others made must be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from gateway.audit.search import DecidedRow
from gateway.policy import bundle as policy_bundle
from gateway.policy import reexecution
from gateway.policy.bundle import Files
from gateway.policy.cache import CompiledBundle, compile_bundle
from gateway.policy.reexecution import RecordedBundle

_MOST_KINDS: Final = 5_000
_REASON: Final = "outside of what this agent was seen to use"


class CallKind(NamedTuple):
    """What a call is about. `tool` is that of a call to an MCP server; of several models each is a kind."""

    action: str
    upstream: str
    model: str
    tool: str


@dataclass(slots=True)
class KindUsed:
    """The calls of one kind that an agent made; `last` is the newest that was allowed: its time, id and index."""

    allowed: int = 0
    refused: int = 0
    last_ns: int = 0
    last_id: str = ""
    last_index: int = 0


@dataclass(slots=True)
class Observed:
    """The kinds of calls in a log: those of one agent, and those of others, each with an input as an example."""

    agent: str
    kinds: dict[CallKind, KindUsed] = field(default_factory=dict)
    others: dict[CallKind, dict[str, Any]] = field(default_factory=dict)
    unkept: int = 0
    document: dict[str, Any] | None = None

    def add(self, rows: Iterable[DecidedRow]) -> None:
        for row in rows:
            entry = orjson.loads(row.leaf)
            mine = entry.get("agent") == self.agent
            document = orjson.loads(row.input) if row.input else None
            if entry.get("dry_run") or (document or {}).get("direction") == "receive":
                continue
            if not reexecution.is_input(document):
                self.unkept += mine
                continue
            assert document is not None
            for kind in kinds_of(document):
                if not mine:
                    if len(self.others) < _MOST_KINDS:
                        self.others.setdefault(kind, document)
                    continue
                self.document = document
                used = self.kinds.setdefault(kind, KindUsed())
                used.refused += entry.get("allow") is not True
                if entry.get("allow") is True:
                    used.allowed += 1
                    used.last_ns, used.last_id, used.last_index = row.time_ns, row.event_id, row.seq

    @property
    def used(self) -> list[CallKind]:
        """The kinds of which a call was allowed."""
        return sorted(kind for kind, each in self.kinds.items() if each.allowed)


def kinds_of(document: Mapping[str, Any]) -> list[CallKind]:
    """The kinds that a call is of: one, or one for each model that it names."""
    resource = document["resource"]
    tool = resource.get("tool") or {}
    models = resource.get("models") or [""]
    return [CallKind(document["action"], resource["upstream"], model, tool.get("name", "")) for model in models]


def guard(agent: str, name: str, used: Iterable[CallKind]) -> tuple[str, Files]:
    """The name and the files of a bundle that denies an agent all calls but of these kinds."""
    bundle = f"access-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-') or 'agent'}"[:60]
    package = bundle.replace("-", "_")
    models: dict[tuple[str, str, str], list[str]] = {}
    for kind in used:
        models.setdefault((kind.action, kind.upstream, kind.tool), []).extend([kind.model] if kind.model else [])
    parts = [
        f"# Denies {agent} all calls of other kinds than it was seen to use.",
        f"package {package}",
        f"deny contains {json.dumps(_REASON)} if not _used",
    ]
    for (action, upstream, tool), listed in sorted(models.items()):
        lines = [f"input.action == {_text(action)}", f"input.resource.upstream == {_text(upstream)}"]
        lines.append(f"input.resource.tool.name == {_text(tool)}" if tool else "not input.resource.tool")
        allowed = f"{{{', '.join(map(_text, sorted(set(listed))))}}}" if listed else "set()"
        lines.append(f"every model in input.resource.models {{ model in {allowed} }}")
        parts.append("\n".join(["_used if {", *(f"\t{line}" for line in lines), "}"]))
    manifest = {"roots": [package], "metadata": {"gateway": {"entrypoint": f"data.{package}", "models": True}}}
    text = "\n\n".join(parts) + "\n"
    return bundle, {policy_bundle.MANIFEST: json.dumps(manifest).encode(), "authz.rego": text.encode()}


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


class Trial:
    """A guard, tried on recorded inputs."""

    def __init__(self, name: str, files: Files) -> None:
        digest = policy_bundle.digest(files)
        self._compiled: CompiledBundle = compile_bundle(files, digest, name)
        self._judge = RecordedBundle(name, digest, "", "guard")
        self.kept = self.wrong = 0

    def denies(self, document: Mapping[str, Any]) -> bool:
        return reexecution.verdict_of(self._compiled, self._judge, document, None, 0).code != "allowed"

    def add(self, agent: str, rows: Iterable[DecidedRow]) -> None:
        """Count the calls of an agent that were allowed, and those among them that the guard denies."""
        for row in rows:
            entry = orjson.loads(row.leaf)
            document = orjson.loads(row.input) if row.input else None
            if entry.get("agent") != agent or entry.get("allow") is not True or not reexecution.is_input(document):
                continue
            assert document is not None
            if entry.get("dry_run") or document.get("direction") == "receive":
                continue
            self.kept += 1
            self.wrong += self.denies(document)
