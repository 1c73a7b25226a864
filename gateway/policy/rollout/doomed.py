"""Finds policies that can only fail when a request is judged: they need a network, or longer than judging may take.

Both would deny every request that comes to them, `policy_error` and `policy_deadline`, and a commit is the place to say
so. The work and the processor time of this process are measured, for calls that are like real ones: time on the clock
would blame a busy machine on the policy.
Specification: policies.md, "From a commit into force".
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, Final

import policy_engine as pe
from gateway.policy.authorization import MAX_OUTPUT, MAX_WORK
from gateway.policy.cache import CompiledBundle
from gateway.settings import Settings
from policy_engine.errors import EVAL_CANCEL_ERROR
from policy_engine.location import Location

_NETWORK: Final = ("http.send", "net.lookup_ip_addr")
_DEADLINE: Final = Settings().policy_deadline_ms / 1000
_LONGEST: Final = 1.0
"""Seconds: the longest deadline that a gateway can be given."""
_TRIES: Final = 3


def unreachable(
    policies: pe.Policies, entrypoint: str, modules: Mapping[str, str]
) -> Iterator[tuple[str, str, Location]]:
    """The builtins of a bundle that the gateway refuses to carry out: what to say of each, what to do, and where."""
    for name in policies.facts(entrypoint).nondeterministic:
        if name in _NETWORK:
            said = f"`{name}` fails whenever a call is judged: policies may not use the network (`policy_error`)"
            yield said, "put what it would fetch into the bundle's data", _place(name, modules)


def _place(name: str, modules: Mapping[str, str]) -> Location:
    called = re.compile(rf"^[^#\n]*?\b({re.escape(name)})\s*\(", re.MULTILINE)
    for file, source in modules.items():
        if found := called.search(source):
            row, start = (
                source.count("\n", 0, found.start(1)) + 1,
                found.start(1) - source.rfind("\n", 0, found.start(1)),
            )
            return Location(file, row, start, row, start + len(name))
    return Location()


def too_slow(bundle: CompiledBundle) -> str:
    """The reason why a call like a real one is never judged in time; empty if each is."""
    for document in _calls():
        action = document.get("action", "an empty input")
        took = []
        for _ in range(_TRIES):
            started = time.thread_time()
            if never := _judged(bundle, document):
                return f"judging {action} is denied `policy_deadline` in any time: {never}"
            took.append(time.thread_time() - started)
        if min(took) > _DEADLINE:
            said = f"takes {min(took) * 1000:.0f} ms, and a request has {_DEADLINE * 1000:.0f} (`policy_deadline_ms`)"
            return f"judging {action} {said}: it would be denied `policy_deadline`"
    return ""


def _judged(bundle: CompiledBundle, document: Mapping[str, Any]) -> str:
    """Judge a call, and name the budget that it uses up however much time there is; empty if it uses up none."""
    try:
        bundle.decide(document, now_ns=0, seed=0, limits=pe.Limits(_LONGEST, MAX_WORK, MAX_OUTPUT))
    except pe.PolicyError as error:
        if error.code == EVAL_CANCEL_ERROR and "deadline" not in error.message:
            return error.message
    return ""


def _calls() -> Iterator[dict[str, Any]]:
    """The empty input, and the examples of the input's schema."""
    yield {}
    examples = resources.files("gateway") / "schemas" / "examples"
    for file in sorted(examples.iterdir(), key=lambda each: each.name):
        if file.name.startswith("input."):
            yield json.loads(file.read_text("utf-8"))
