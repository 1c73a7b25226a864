"""The control process' work at intervals: recover, publish, follow the policies, sign, tidy up, deliver events.

Each duty is an ordinary function with its own interval and runs in a thread. If it fails, the failure is logged once,
the process goes on and the duty is tried again. A log that is damaged, or that contradicts what was signed, ends the
start before anything is changed. `begin` recovers and signs before the first worker starts; if recovery fails there,
the gateway does not start either. Policies never prevent a start: what was in force stays in force until the new commit
has been checked. See architecture.md, sections 10 to 12.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import starmap
from typing import Any

from gateway.approvals import tending
from gateway.audit import clock, content_erasure, publication, recovery, refused_note, signer, storage
from gateway.audit.log_files import opened_log
from gateway.audit.writer import AuditWriter
from gateway.dataplane import outages
from gateway.errors import GatewayError
from gateway.http.health import Check
from gateway.identity import token_keys
from gateway.policy.rollout import fetch
from gateway.policy.rollout.sync import FIRST_PAUSE, PolicySync
from gateway.processes import key_duties
from gateway.processes.key_duties import KeyDuties
from gateway.processes.metrics import Metrics
from gateway.processes.parts import BESIDE, Beside
from gateway.registry import adoptions, inventory, outbox, queries
from gateway.registry.agents import reviews
from gateway.registry.database import Registry
from gateway.runtime import legacy_clients, proposals, streaks
from gateway.runtime.handover import Handover
from gateway.runtime.nonces import UsedNonces
from gateway.runtime.references import References
from gateway.runtime.store import RuntimeStore
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import Vault
from gateway.settings import Settings
from gateway.storage.liveness import members
from gateway.storage.opened_file import OpenedFile
from gateway.usage import rollup

logger = logging.getLogger("gateway.processes.duties")

RECOVERY_SECONDS = 1.0
OUTBOX_SECONDS = 2.0
TIDY_SECONDS = 600.0
EXPIRY_SECONDS = 60.0
REVIEW_SECONDS = 10.0
SUMS_SECONDS = 2.0
_ADDED_AT_ONCE = 20_000  # entries, so that a long log keeps the process busy for a part of the time only
LOOK_SECONDS = 30.0
"""The time that a start waits until the newest commit is in force or refused, so that no request meets the one before
it.

A look tests the commit in a process of its own, which takes its time on a busy machine. If that process is killed, the
commit is looked at again.
"""

_UNSETTLED = "the newest commit of the policies is not checked yet: until then the one that was in force stays so"


class Duties:
    """Owns the control process's registry, writer and signer. Functions that are not `async` block: call them from a
    thread.

    Raises `GatewayError` if the log cannot be trusted; then nothing was changed.
    """

    def __init__(self, settings: Settings, boot: str) -> None:
        self._settings = settings
        data = settings.data
        self._live = members(data)
        with ExitStack() as opened:
            opened.enter_context(closing(self._live.join(boot)))
            self._signer = opened.enter_context(signer.HeadSigner(data))
            storage.migrate(data)
            recovery.check(data, signer.load_verifier(signer.public_key_path(data)))
            self._signer.check()
            self._registry = opened.enter_context(closing(Registry(data.registry_db)))
            self._registry.migrate()
            token_keys.create(data.keys)  # a data directory of an earlier version has none
            self._file = opened.enter_context(closing(OpenedFile(data.registry_db)))
            self._store = opened.enter_context(closing(RuntimeStore(data.runtime_db)))
            self._store.renew()
            self._store.open()
            deployment = queries.deployment(self._registry)
            self.writer = opened.enter_context(closing(AuditWriter(data, boot=boot, deployment=deployment)))
            self._opened = opened.pop_all()  # closed in reverse order, the presence last
        self._keys = KeyDuties(self._registry, self.writer, self._store, data.keys)
        self._policies = PolicySync.of(settings, self._registry, self._live)
        self._fetcher = fetch.Fetcher(settings)
        made = self._registry, KeySource.of(settings), data, self._store, settings.dashboard
        self._beside = [each(*made) for each in BESIDE]
        self._herald = outages.Herald(data.runtime_db)
        self._complaints: dict[str, str] = {}
        self.metrics = Metrics(settings, self._registry, lambda: sorted(self._complaints))
        self._looked = asyncio.Event()
        self._undecided = False  # true while the newest commit may be fit
        self._begun = False

    def begin(self) -> None:
        """Do everything that must be done before a request is served."""
        still = self._stand_still()
        for each in still:
            logger.error("%s: %s", each, clock.HINT)
        # A task that a log which stands still does not take is done again and again, until the clock has caught up.
        needed = self._try if still else _do
        needed("recovery", self._recover)
        self._try("outbox", self._publish)
        self._try("expiry of content", self._expire)
        self._try("reviews of agents", self._suspend_unconfirmed)
        needed("signing", self._sign)
        self._begun = True

    def _stand_still(self) -> list[clock.Ahead]:
        """The logs that are ahead of the clock."""
        with opened_log(self._settings.data) as db:
            return clock.ahead(db, time.time_ns())

    async def run(self, stop: asyncio.Event) -> None:
        """Do every duty at its interval until `stop` is set, the policies first of all."""
        async with asyncio.TaskGroup() as group:  # an exception in one of them ends all, and is raised here
            work = [self.writer.watch(), self._follow_policies(), *map(self._again, self._beside)]
            tasks = [group.create_task(each) for each in (*work, *starmap(self._repeat, self._intervals()))]
            await stop.wait()
            self._policies.stop()
            self._fetcher.stop()
            for task in tasks:
                task.cancel()

    def _intervals(self) -> Iterator[tuple[str, float, Callable[[], None]]]:
        """The duties that are done again and again, each with the seconds between two times."""
        yield "recovery", RECOVERY_SECONDS, self._recover
        yield "reported keys", RECOVERY_SECONDS, self._keys.revoke_reported
        yield "hashes", key_duties.MOVE_SECONDS, self._keys.move_hashes
        yield "retiring keys", key_duties.REMIND_SECONDS, self._keys.remind
        yield "replaced keys of tokens", key_duties.REMIND_SECONDS, self._keys.remove_replaced
        yield "outbox", OUTBOX_SECONDS, self._publish
        yield "refusals of everything", outages.Outages.SECONDS, self._look_for_outages
        yield "signing", self._settings.checkpoint_seconds, self._sign
        if self._settings.publish_to is not None:
            yield "publishing the log", self._settings.checkpoint_seconds, self._publish_log
        yield "tidying up", TIDY_SECONDS, self._tidy
        yield "expiry of content", EXPIRY_SECONDS, self._expire
        yield "reviews of agents", REVIEW_SECONDS, self._suspend_unconfirmed
        yield "approvals", tending.SECONDS, self._tend_approvals
        yield "adding up usage", SUMS_SECONDS, self._add_up
        if self._settings.remote is not None:
            yield "fetch", self._settings.policies_fetch, self._fetcher.step

    async def state(self) -> dict[str, Any]:
        """The operator's text at a start. Waits until `run` has settled the policies, but not too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._looked.wait()
        return await asyncio.to_thread(self._count) | {"policies": [] if self._looked.is_set() else [_UNSETTLED]}

    def _count(self) -> dict[str, Any]:
        found = inventory.beginning(self._registry)
        faults = inventory.sealed_faults(found.upstreams, Vault.tried(KeySource.of(self._settings)))
        return {
            "agents": found.agents,
            "upstreams": len(found.upstreams),
            "bundles": len(found.activation.bundles) if found.activation else 0,
            "clock": [f"{each}: {clock.HINT}" for each in self._stand_still()],
            "adoptions": [text for text, _ in adoptions.reminders(found.adoptions, time.time_ns())],
            "sealed": {
                each.record.name: faults[each.record.id] for each in found.upstreams if each.record.id in faults
            },
        }

    def healthy(self) -> bool:
        """True if no duty failed when it was last done."""
        return not self._complaints

    def checks(self) -> dict[str, Check]:
        """Tells, for `/readyz`, if everything that the duties and the workers need is there."""

        async def registry_readable() -> bool:
            return self._file.in_place() and await asyncio.to_thread(self._epoch) >= 0

        async def policies_in_force() -> bool:
            return await asyncio.to_thread(queries.activation, self._registry) is not None

        async def requests_served() -> bool:
            return await asyncio.to_thread(self._serves)

        async def duties_done() -> bool:
            return self.healthy()

        return {
            "registry": registry_readable,
            "log": self.writer.check,
            "policies": policies_in_force,
            "duties": duties_done,
            "requests": requests_served,
        }

    def _serves(self) -> bool:
        """True if the workers do not refuse everything for reasons of the gateway's own."""
        found = outages.read(self._settings.data.runtime_db, self._live, time.time_ns())
        return not any(each.scope.kind == "gateway" and each.is_fault for each in found)

    def _epoch(self) -> int:
        with self._registry.read() as session:
            return queries.current_epoch(session)

    def close(self) -> None:
        """Do the last round, unless the start failed: close what workers left open, publish, sign the final heads."""
        if self._begun:
            for name, duty in (("recovery", self._recover), ("outbox", self._publish), ("signing", self._sign)):
                self._try(name, duty)
        self._opened.close()

    async def _follow_policies(self) -> None:
        await self._do("fetch", self._fetcher.step)
        while True:
            error = await self._do("policies", self._follow)
            if not self._undecided and (error is None or isinstance(error, GatewayError)):
                self._looked.set()
            often = self._settings.policies_poll
            await asyncio.sleep(often if self._looked.is_set() else min(often, FIRST_PAUSE))

    async def _again(self, duty: Beside) -> None:
        """Do a duty on the event loop again and again. A receiver or a server that fails is no failure of it."""
        try:
            while True:
                await asyncio.sleep(duty.SECONDS)
                try:
                    await duty.step()
                except Exception as error:  # noqa: BLE001  # as in `_try`
                    self._complain(duty.NAME, error)
                else:
                    self._working(duty.NAME)
        finally:
            await duty.close()

    async def _repeat(self, name: str, seconds: float, duty: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._do(name, duty)

    async def _do(self, name: str, duty: Callable[[], None]) -> Exception | None:
        """Do one duty once, and return what it failed with.

        If cancelled, wait for its thread: it uses the registry and the signer until it ends.
        """
        work = asyncio.create_task(asyncio.to_thread(self._try, name, duty))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})
            raise
        except RuntimeError as error:  # no thread could be started
            self._complain(name, error)
            return error

    def _try(self, name: str, duty: Callable[[], None]) -> Exception | None:
        try:
            duty()
        except Exception as error:  # noqa: BLE001  # whatever it is: nobody would notice a duty that has ended
            self._complain(name, error)
            return error
        self._working(name)
        return None

    def _working(self, name: str) -> None:
        if self._complaints.pop(name, None) is not None:
            logger.info("%s: working again", name)

    def _complain(self, name: str, error: Exception) -> None:
        """Log once what is wrong with a duty."""
        expected = isinstance(error, GatewayError | OSError)
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, GatewayError):
            text = f"{error.message}: {error.hint}" if error.hint else error.message
        if self._complaints.get(name) != text:
            logger.error("%s: %s", name, text, exc_info=None if expected else error)
        self._complaints[name] = text

    def _recover(self) -> None:
        found = recovery.recover(self.writer, self._live, epoch=self._epoch())
        if found.closed:
            logger.warning("%d requests of processes that died were closed with outcome `unknown`", found.closed)
        self._live.sweep(functools.partial(refused_note.record, self.writer))

    def _publish(self) -> None:
        outbox.drain(self._registry, self.writer)

    def _follow(self) -> None:
        if fetch.missing(self._settings):
            return  # nothing was fetched yet, which the fetcher has told
        outcome = self._policies.step()
        self._undecided = outcome.undecided
        if outcome.outcome != "unchanged":
            self._publish()

    def _tidy(self) -> None:
        """Remove the rows of `runtime.db` that nobody needs any more."""
        Handover(self._store).forget_dead(self._live)
        References(self._store).forget_old(time.time_ns())
        UsedNonces(self._store).forget_old(time.time())
        proposals.forget_old(self._store, time.time_ns())
        legacy_clients.forget_old(self._store, time.time_ns())
        streaks.forget_old(self._store, self._live)
        self.metrics.tidy()

    def _expire(self) -> None:
        """Delete the content whose time is over."""
        content_erasure.expired(self.writer, time.time_ns(), self._epoch())

    def _suspend_unconfirmed(self) -> None:
        """Record the suspension of agents that nobody has confirmed in time, and end their calls."""
        found = reviews.suspend_unconfirmed(self._registry, time.time_ns())
        for name in found:
            logger.warning("agent %s was not reviewed in time, and is suspended", name)
        if found:
            self._publish()

    def _tend_approvals(self) -> None:
        """Settle requests for approval that are over. Nothing waits for that, but what people see."""
        with opened_log(self._settings.data) as log:
            done = tending.tend(self._registry, tending.used_by(log), time.time_ns())
        if done:
            self._publish()

    def _add_up(self) -> None:
        """Bring the sums of usage and traffic on, which pages read as they are."""
        with opened_log(self._settings.data) as log:
            rollup.advance(self._settings.data.cache, log, _ADDED_AT_ONCE)

    def _look_for_outages(self) -> None:
        self._herald.look(self._live, time.time_ns())

    def _publish_log(self) -> None:
        settings, verifier = self._settings, self._signer.verifier
        assert settings.publish_to is not None
        with opened_log(settings.data) as log:
            publication.publish(log, verifier, settings.publish_to, settings.publish_organizations)

    def _sign(self) -> None:
        self._signer.sign_all(self.writer)


def _do(_name: str, duty: Callable[[], None]) -> None:
    duty()
