"""From a commit to policies in force: read, check, publish, hand over, activate (docs/architecture.md, section 11).

For the control process, which follows the repository, and for `gateway init`. Whatever is wrong with a commit, what is
in force stays in force, and the audit log says why it was refused. A crash between any two steps leaves the former
activation and at most published revisions that nothing refers to; the next look at the repository starts over.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.policy.bundle import Files
from gateway.policy.handover import Handover
from gateway.policy.rollout import check as policy_check
from gateway.policy.rollout.check import Problem
from gateway.policy.rollout.source import GitSource, Revision
from gateway.registry import activations, queries
from gateway.registry.database import Registry
from gateway.registry.records import BundleRecord
from gateway.settings import DataDirectory, Settings

logger = logging.getLogger("gateway.policy.cache")

LOAD_SECONDS = 10.0
_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the commit that the ref names: `activated`, `unchanged`, or the word for why it was refused."""

    commit: str
    outcome: str
    problems: tuple[Problem, ...] = ()

    @property
    def refused(self) -> bool:
        return self.outcome not in ("activated", "unchanged")


@dataclass(slots=True)
class PolicySync:
    """Follows one ref of one repository. One thread at a time may use it.

    `live` are the boot ids of processes that are alive; the data workers among them are waited for.
    """

    registry: Registry
    data: DataDirectory
    source: GitSource
    live: Collection[str] = _NOBODY
    actor: str = field(default_factory=lambda: f"local:{os.getuid()}")
    # A commit that was refused is not looked at again, and refused in the log once. In memory only: a restart, perhaps
    # with a version that can do more, gives it another chance.
    _refused: Outcome | None = None
    _unloaded: str = ""
    # The last commit that passed: one that waits for a worker is not compiled and tested at every look.
    _fit: str = ""
    _stopped: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, settings: Settings, registry: Registry, live: Collection[str] = _NOBODY) -> PolicySync:
        source = GitSource(settings.repository, settings.policies_path, settings.policies_ref)
        return cls(registry, settings.data, source, live)

    def step(self) -> Outcome:
        """Look at the ref once and bring what it names into force. Raises `GatewayError` if it cannot be read."""
        # 1. Is there anything new?
        revision = self.source.head()
        active = queries.activation(self.registry)
        if active is not None and active.commit == revision.commit:
            return Outcome(revision.commit, "unchanged")
        if self._refused is not None and self._refused.commit == revision.commit:
            return self._refused
        # 2. Is it fit to be in force?
        try:
            bundles = self.source.bundles(revision.commit)
        except GatewayError as error:
            if error.code == "policies_unreadable":
                raise  # that is the repository's state, not the commit's: another look may help
            return self._refuse(revision, [Problem(error.code, "", error.message)])
        problems = self._missing(bundles)
        if not problems and self._fit != revision.commit:
            problems = policy_check.check(bundles, stop=self._stopped)
        if problems:
            return self._refuse(revision, problems)
        self._fit = revision.commit
        # 3. Make it loadable: complete and durable before anything refers to it.
        records = [_record(self.data, name, files, revision) for name, files in sorted(bundles.items())]
        # 4. Let every live worker load it.
        try:
            self._hand_over({record.digest for record in records})
        except GatewayError as error:
            if error.code != "not_loaded":
                raise
            return self._postpone(revision, error.message)
        # 5. One row and an epoch bump switch all of them.
        try:
            activations.activate(
                self.registry, actor=self.actor, commit=revision.commit, author=revision.author, bundles=records
            )
        except GatewayError as error:
            if error.code != "not_recordable":
                raise
            return self._refuse(revision, [Problem("not_recordable", "", error.message)])
        self._retract()
        logger.info("policies: commit %s is in force: %s", revision.commit[:12], ", ".join(sorted(bundles)))
        return Outcome(revision.commit, "activated")

    def stop(self) -> None:
        """End a check that is under way in another thread, and every later one: this process ends."""
        self._stopped.set()

    def _missing(self, bundles: dict[str, Files]) -> list[Problem]:
        """A commit without a bundle that somebody is bound to would refuse all of their requests."""
        if not bundles:
            return [Problem("no_bundles", "", "the commit holds no bundle: no directory with a `.manifest`")]
        gone = {Problem("bundle_missing", name, f"{who} is bound to it") for name, who in self._bound()}
        return sorted((each for each in gone if each.bundle not in bundles), key=str)

    def _bound(self) -> Iterator[tuple[str, str]]:
        """Each bundle that must be in the commit, and for whom. A pinned binding brings its own revision."""
        for organization in queries.organizations(self.registry):
            active = {each.name for each in queries.agents(self.registry, organization) if each.status == "active"}
            for binding in queries.bindings(self.registry, organization):
                if binding.pinned is None and (binding.subject_kind != "agent" or binding.subject in active):
                    yield binding.bundle, f"{binding.subject_kind} {binding.subject}"

    def _hand_over(self, wanted: set[str]) -> None:
        if not self.live:
            return
        handover = Handover(self.data.runtime_db)
        try:
            handover.announce(wanted)
            handover.wait(wanted, self.live, LOAD_SECONDS)
        finally:
            handover.close()

    def _retract(self) -> None:
        if not self.live:
            return
        handover = Handover(self.data.runtime_db)
        try:
            handover.announce(())
        finally:
            handover.close()

    def _refuse(self, revision: Revision, problems: list[Problem]) -> Outcome:
        """Put on record, once, that this commit is not put into force."""
        detail = "\n".join(map(str, problems))
        logger.error("policies: commit %s is not put into force: %s", revision.commit[:12], detail)
        activations.refuse_activation(
            self.registry,
            actor=self.actor,
            commit=revision.commit,
            author=revision.author,
            outcome=problems[0].outcome,
            detail=detail,
        )
        self._refused = Outcome(revision.commit, problems[0].outcome, tuple(problems))
        return self._refused

    def _postpone(self, revision: Revision, message: str) -> Outcome:
        """Workers could not load it: that is put on record once, and tried again, since it may be cured by itself."""
        outcome = Outcome(revision.commit, "not_loaded", (Problem("not_loaded", "", message),))
        if self._unloaded != revision.commit:
            self._unloaded = revision.commit
            self._refuse(revision, list(outcome.problems))
            self._refused = None
        return outcome


def activate_head(registry: Registry, data: DataDirectory) -> str:
    """Bring a new gateway's first commit into force and return it. Raises `GatewayError` if it cannot be."""
    outcome = PolicySync(registry, data, GitSource(data.policies)).step()
    if outcome.refused:
        raise GatewayError("policies_refused", str(outcome.problems[0]), subject=outcome.commit)
    return outcome.commit


def _record(data: DataDirectory, name: str, files: Files, revision: Revision) -> BundleRecord:
    digest = policy_bundle.publish(data.bundles, files)
    entrypoint = policy_bundle.manifest(files[policy_bundle.MANIFEST], name).entrypoint
    return BundleRecord(name=name, commit=revision.commit, digest=digest, author=revision.author, entrypoint=entrypoint)
