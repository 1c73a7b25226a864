"""Finds the agents that could make a call at a time: asks the policies of then, for every agent and every call.

The calls are the simplest of their kind: an action, an upstream, a model and at most one tool, with no messages and no
usage so far. The clock of the policies stands at that time. Limits are not asked, because what was used then is not
known; the networks of keys are not compared with anything. Upstreams have no history: they are those of now.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.call import Call
from gateway.dataplane.judgement import judge
from gateway.dataplane.obliged import described
from gateway.errors import GatewayError
from gateway.identity.principals import Found, principal_of, refusal_of
from gateway.policy import authorization
from gateway.policy.authorization import Authorization
from gateway.policy.cache import CompiledBundle, Panel, PolicyCache
from gateway.policy.decision import ALLOWED
from gateway.registry.history.as_of import AgentAt, RegistryAt
from gateway.registry.port import ActiveSet, BundleRef
from gateway.registry.records import BundleRecord, KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedBinding:
    """The verdict of one binding on a call: `code` is `allowed` or a reason code."""

    binding: str
    subject_kind: str
    subject: str
    bundle: str
    effect: str
    commit: str
    code: str
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """The finding that an agent could or could not make a call, with the key it would have used, and the reasons.

    `code` is `allowed`, a reason code of the data plane, or why no policy was asked: `agent_suspended`, `no_key` and
    the like. `call` counts from 0.
    """

    agent: str
    agent_id: str
    version: int
    team: str
    call: int
    allowed: bool
    code: str
    reasons: list[str]
    key: str | None
    bindings: list[JudgedBinding]


_SECONDS: Final = 30.0
_KEPT: Final = 32
# The words for refusals by the states of keys and agents, where they are not the log's.
_WORDS: Final = {"suspended": "agent_suspended", "revoked": "no_key", "expired": "no_key"}


class Bundles:
    """The bundles that were asked last, compiled: those of one question after another are mostly the same.

    Threads share it. One compiles at a time.
    """

    def __init__(self, directory: Path, most: int = _KEPT) -> None:
        self._directory = directory
        self._most = most
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, CompiledBundle] = OrderedDict()

    def of(self, digests: Iterable[str]) -> tuple[PolicyCache, dict[str, str]]:
        """These revisions in memory, and for each that cannot be loaded why."""
        found, missing = PolicyCache(self._directory), dict[str, str]()
        for digest in sorted(digests):
            try:
                found.hold(self.load(digest))
            except GatewayError as error:
                missing[digest] = error.message
        return found, missing

    def load(self, digest: str) -> CompiledBundle:
        """One of them. Raises `GatewayError` if it cannot be loaded."""
        with self._guard:
            if digest not in self._kept:
                self._kept[digest] = PolicyCache(self._directory).load(digest)
            self._kept.move_to_end(digest)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[digest]


def permissions(bundles: Bundles, then: RegistryAt, calls: Sequence[Call], at_ns: int) -> list[Permission]:
    """The answer for every agent that had not ended, and every call; by agent, then by call."""
    return [each for _, found in by_agent(bundles, then, calls, at_ns) for each in found]


def by_agent(
    bundles: Bundles, then: RegistryAt, calls: Sequence[Call], at_ns: int
) -> Iterator[tuple[str, list[Permission]]]:
    """The id of each agent with its answers, one after the other; those that had ended have none."""
    court = _Court(bundles, then, at_ns)
    for each in then.agents:
        ended = each.agent.status in ("revoked", "retired")
        yield each.agent.id, [court.judge(each, number, call) for number, call in enumerate(calls) if not ended]


class _Court:
    """The bundles of one activation."""

    def __init__(self, bundles: Bundles, then: RegistryAt, at_ns: int) -> None:
        self._at_ns = at_ns
        in_force = then.activation
        active = {} if in_force is None else {name: _ref(each) for name, each in in_force.bundles.items()}
        bound = [each for agent in then.agents for each in agent.bindings]
        pinned = {
            (each.binding.bundle, each.binding.pinned): _ref(each.revision)
            for each in bound
            if each.binding.pinned is not None and each.revision is not None
        }
        self._active = ActiveSet(
            in_force.id if in_force else "", in_force.commit if in_force else "", 0, active, pinned
        )
        digests = {each.revision.digest for each in bound if each.revision is not None}
        self._policies, self._missing = bundles.of(digests)

    def judge(self, agent: AgentAt, number: int, call: Call) -> Permission:
        """Try each key that worked; the first that would have let the call through decides, or else the last."""
        keys = [each for each in agent.keys if each.works(self._at_ns)] or agent.keys[-1:]
        found = [self._with_key(agent, number, call, None)] if not keys else []
        for key in keys:
            found.append(self._with_key(agent, number, call, key))
            if found[-1].allowed:
                break
        return found[-1]

    def _with_key(self, agent: AgentAt, number: int, call: Call, key: KeyRecord | None) -> Permission:
        row = agent.row(key)
        denied = refusal_of(Found(row, None), now_ns=self._at_ns)
        if denied is not None or key is None:
            code = "no_key" if denied is None else _WORDS.get(denied.detail, denied.detail)
            return _permission(agent, number, code, (), None, [])
        principal = principal_of(row, "", 0, key.method)
        panel = authorization.panel(principal, self._active, self._policies)
        scope = principal.scope and replace(principal.scope, networks=())
        panel = authorization.within_scope(panel, scope, call, call.models, None)
        ends = time.monotonic() + _SECONDS
        found = judge(panel, principal, call, self._at_ns, described, ends).authorization
        judged = list(self._judged(agent, panel, found)) if found.panel.refusal is None else []
        reasons = found.reasons or ((self._why(agent, found),) if found.code != ALLOWED else ())
        return _permission(agent, number, found.code, [each for each in reasons if each], key.id, judged)

    def _judged(self, agent: AgentAt, panel: Panel, found: Authorization) -> Iterator[JudgedBinding]:
        """The verdict of each binding on the call as it would have been forwarded."""
        counting = [each.binding for each in agent.bindings if not each.binding.shadow]
        for binding, member in zip(counting, panel.members, strict=True):
            ends = time.monotonic() + _SECONDS
            verdict, _ = authorization.asked(
                member.bundle, member.ref.name, member.effect, found.input, self._at_ns, found.seed, ends
            )
            yield JudgedBinding(
                binding=binding.id,
                subject_kind=binding.subject_kind,
                subject=binding.subject,
                bundle=binding.bundle,
                effect=binding.effect,
                commit=member.ref.commit,
                code=verdict.code,
                reasons=list(verdict.reasons),
            )

    def _why(self, agent: AgentAt, found: Authorization) -> str:
        """For people: why a bundle could not be asked, or what the log would have had as detail."""
        lost = [self._missing.get(each.revision.digest) for each in agent.bindings if each.revision is not None]
        return next(filter(None, lost), found.detail)


def _permission(
    agent: AgentAt, number: int, code: str, reasons: Sequence[str], key: str | None, judged: list[JudgedBinding]
) -> Permission:
    return Permission(
        agent=agent.agent.name,
        agent_id=agent.agent.id,
        version=agent.agent.version,
        team=agent.agent.team,
        call=number,
        allowed=code == ALLOWED,
        code=code,
        reasons=list(reasons),
        key=key,
        bindings=judged,
    )


def _ref(revision: BundleRecord) -> BundleRef:
    return BundleRef(revision.name, revision.digest, revision.commit, revision.entrypoint)
