"""Brings a commit into force: read, check, publish, hand over, activate (architecture.md, section 11).

Used by the control process, which follows the repository, and by `gateway init`. If anything is wrong with a commit,
the policies in force stay in force, and the audit log says why the commit was refused. A commit that is wrong in itself
is not looked at again; one that was refused for another reason is. A crash between any two steps leaves the former
activation, and at most published revisions that nothing refers to; the next look at the repository starts over.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.policy.bundle import Files
from gateway.policy.rollout import check as policy_check
from gateway.policy.rollout import impact_gate, signatures
from gateway.policy.rollout.check import CommitProblem
from gateway.policy.rollout.source import GitSource, Revision
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.runtime.handover import Handover
from gateway.runtime.store import RuntimeStore
from gateway.settings import Settings

logger = logging.getLogger("gateway.policy.rollout.sync")

GATEWAY = "gateway"
"""The actor of what a running gateway does by itself. A command's is `local:<uid>`."""

LOAD_SECONDS = 10.0
# A check that failed because of this machine is repeated after a pause that doubles: it may cost a minute of computing.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
_OF_THE_MACHINE = ("check_failed", "check_timeout")
_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """The fate of the commit that the ref names: `activated`, `unchanged`, or the code of why it was refused."""

    commit: str
    outcome: str
    problems: tuple[CommitProblem, ...] = ()

    @property
    def refused(self) -> bool:
        return self.outcome not in ("activated", "unchanged")

    @property
    def undecided(self) -> bool:
        """True if the commit may be fit all the same: it was refused for a reason of this machine."""
        return self.outcome in (*_OF_THE_MACHINE, "not_loaded")


@dataclass(slots=True)
class PolicySync:
    """Follows one ref of one repository. One thread at a time may use it.

    `live` holds the boot ids of processes that are alive; the data workers among them must load a commit first.
    """

    registry: Registry
    data: DataDirectory
    source: GitSource
    live: Collection[str] = _NOBODY
    actor: str = field(default_factory=lambda: f"local:{os.getuid()}")
    signers: Path | None = None  # the file of those who may sign commits, if commits must be signed
    impact_days: int = 0  # the past calls that a commit is judged by
    # The commit that was refused last, and the names of its bundles. In memory only: after a restart, perhaps of
    # another version, it is checked again.
    _refused: SyncOutcome | None = None
    _names: frozenset[str] = _NOBODY
    # When a check that failed because of this machine may be repeated.
    _pause: float = FIRST_PAUSE
    _retry: float = 0.0
    # The last commit that passed: one that waits for a worker is not compiled and tested at every look.
    _fit: str = ""
    _stopped: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, settings: Settings, registry: Registry, live: Collection[str] = _NOBODY) -> PolicySync:
        """The sync of the running gateway. Its activations and refusals are attributed to it."""
        source = GitSource(settings.repository, settings.policies_path, settings.policies_ref)
        return cls(
            registry,
            settings.data,
            source,
            live,
            actor=GATEWAY,
            signers=settings.policies_signers,
            impact_days=settings.policies_impact_days,
        )

    def step(self) -> SyncOutcome:
        """Look at the ref once and bring its commit into force. Raises `GatewayError` if the commit cannot be read."""
        # 1. Is there anything new?
        revision = self.source.head()
        active = queries.activation(self.registry)
        if active is not None and active.commit == revision.commit:
            return SyncOutcome(revision.commit, "unchanged")
        if self._refused is not None and self._refused.commit == revision.commit and not self._may_be_cured():
            return self._refused
        # 2. May its author change policies, and is it fit to be in force?
        if problem := self._signature(revision.commit):
            return self._refuse(revision, [problem])
        try:
            bundles = self.source.bundles(revision.commit)
        except GatewayError as error:
            if error.code == "policies_unreadable":
                raise  # that is the repository's fault, not the commit's: another look may help
            return self._refuse(revision, [CommitProblem(error.code, "", _advice(error))])
        self._names = frozenset(bundles)
        problems = self._missing(self._names)
        if not problems and self._fit != revision.commit:
            problems = policy_check.check(bundles, stop=self._stopped) or self._impact(bundles, revision)
        if problems:
            return self._refuse(revision, problems)
        self._fit = revision.commit
        # 3. Make it loadable: complete and durable before anything refers to it.
        records = [_record(self.data, name, files, revision) for name, files in sorted(bundles.items())]
        try:
            # 4. Let every live worker load it.
            self._hand_over({record.digest for record in records})
            # 5. One row and an epoch bump switch all of them.
            activations.activate(
                self.registry, actor=self.actor, commit=revision.commit, author=revision.author, bundles=records
            )
        except GatewayError as error:
            if error.code not in ("not_loaded", "not_recordable", "bundle_missing"):
                raise
            bundle = error.subject if error.code == "bundle_missing" else None
            return self._refuse(revision, [CommitProblem(error.code, bundle or "", error.message)])
        self._retract()
        logger.info("policies: commit %s is in force: %s", revision.commit[:12], ", ".join(sorted(bundles)))
        return SyncOutcome(revision.commit, "activated")

    def stop(self) -> None:
        """End the check that runs in another thread, and every later one, because this process is about to end."""
        self._stopped.set()

    def _may_be_cured(self) -> bool:
        """True if the commit that was refused deserves another look."""
        assert self._refused is not None
        match self._refused.outcome:
            case "not_loaded":
                return True
            case "bundle_missing":
                return not self._missing(self._names)
            case "unsigned" | "unknown_signer" | "bad_signature":
                return self._signature(self._refused.commit) is None  # the file of signers may have changed
            case outcome:
                return outcome in _OF_THE_MACHINE and time.monotonic() >= self._retry

    def _signature(self, commit: str) -> CommitProblem | None:
        return None if self.signers is None else signature_problem(self.source, commit, self.signers)

    def _impact(self, bundles: Mapping[str, Files], revision: Revision) -> list[CommitProblem]:
        """Past calls that it would have decided otherwise, if there are more than it accepts. The first has none."""
        if not self.impact_days or queries.activation(self.registry) is None:
            return []
        found = impact_gate.problem(
            self.data, bundles, revision.commit, revision.message, self.impact_days, self._stopped
        )
        return [] if found is None else [found]

    def _missing(self, names: Collection[str]) -> list[CommitProblem]:
        """A commit without a bundle that somebody is bound to would have all of their requests refused."""
        if not names:
            return [CommitProblem("no_bundles", "", "the commit holds no bundle: no directory with a `.manifest`")]
        return missing_bundles(self.registry, names)

    def _hand_over(self, wanted: set[str]) -> None:
        if not self.live:
            return
        with closing(RuntimeStore(self.data.runtime_db)) as store:
            handover = Handover(store)
            handover.announce(wanted)
            handover.wait(wanted, self.live, LOAD_SECONDS)

    def _retract(self) -> None:
        if not self.live:
            return
        with closing(RuntimeStore(self.data.runtime_db)) as store:
            Handover(store).announce(())

    def _refuse(self, revision: Revision, problems: list[CommitProblem]) -> SyncOutcome:
        """Keep what is in force and record why: once for each reason, however often the commit is tried again."""
        outcome = SyncOutcome(revision.commit, problems[0].outcome, tuple(problems))
        before = self._refused if self._refused and self._refused.commit == revision.commit else None
        if before is None or before.outcome != outcome.outcome:
            detail = "\n".join(map(str, problems))
            logger.error("policies: commit %s is rejected (%s): %s", *_in_a_line(revision, outcome))
            activations.refuse_activation(
                self.registry,
                actor=self.actor,
                commit=revision.commit,
                author=revision.author,
                outcome=outcome.outcome,
                detail=detail,
            )
        self._refused = outcome
        self._pause = FIRST_PAUSE if before is None else min(2 * self._pause, LONGEST_PAUSE)
        self._retry = time.monotonic() + self._pause
        return outcome


def missing_bundles(registry: Registry, names: Collection[str]) -> list[CommitProblem]:
    """The bundles that somebody is bound to and that are not among these names."""
    with registry.read() as session:
        missing = activations.missing_bundles(session, names)
    return [CommitProblem("bundle_missing", name, why) for name, why in missing.items()]


def signature_problem(source: GitSource, commit: str, signers: Path) -> CommitProblem | None:
    """The fault of a commit's signature; None if it is. Raises `GatewayError` if the file cannot be used."""
    known = signatures.load(signers)
    signed = source.signed(commit)
    try:
        signatures.verify(signed.signature, signed.payload, signed.when, known)
    except GatewayError as error:
        return CommitProblem(error.code, "", error.message, hint=error.hint)
    return None


def activate_head(registry: Registry, data: DataDirectory) -> str:
    """Bring a new gateway's first commit into force and return it. Raises `GatewayError` if it cannot be."""
    outcome = PolicySync(registry, data, GitSource(data.policies)).step()
    if outcome.refused:
        raise GatewayError("policies_refused", str(outcome.problems[0]), subject=outcome.commit)
    return outcome.commit


def _in_a_line(revision: Revision, outcome: SyncOutcome) -> tuple[str, str, str]:
    """A refusal for the gateway's output: the commit, the outcome, and why; the log has all that was found."""
    first, *more = outcome.problems
    why = " ".join(str(first).split())
    if more:
        why += f" (and {len(more)} more: `gateway policies check --commit {revision.commit[:12]}` shows all)"
    return f"{revision.commit[:12]} of {revision.author}", outcome.outcome, f"{why}; what was in force stays in force"


def _advice(error: GatewayError) -> str:
    return f"{error.message}: {error.hint}" if error.hint else error.message


def _record(data: DataDirectory, name: str, files: Files, revision: Revision) -> BundleRecord:
    digest = policy_bundle.publish(data.bundles, files)
    entrypoint = policy_bundle.manifest(files[policy_bundle.MANIFEST], name).entrypoint
    return BundleRecord(name=name, commit=revision.commit, digest=digest, author=revision.author, entrypoint=entrypoint)
