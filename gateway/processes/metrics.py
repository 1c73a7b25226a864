"""The page of metrics: what the workers count, and what the control process knows of the whole.

It names organizations, upstreams, models and agents, and says nothing about the content of any request.
Specification: observability.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlmodel import col, select

from gateway.approvals import status as approvals
from gateway.audit import balances
from gateway.audit.balance import MINUTE_NS
from gateway.audit.log_files import opened_log
from gateway.dataplane.measures import MAX_MODELS
from gateway.errors import GatewayError
from gateway.processes import status
from gateway.processes.version import version
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.models import Organization, Upstream
from gateway.runtime import contacts
from gateway.runtime.contacts import Contact
from gateway.settings import Settings
from gateway.storage.liveness import members
from gateway.telemetry import collection
from gateway.telemetry.exposition import Bounds, Gauge, render
from gateway.webhooks.notices import STATES


class Metrics:
    """Renders the page and keeps the workers' files few. Its methods block: call them from a thread."""

    def __init__(self, settings: Settings, registry: Registry, failing: Callable[[], list[str]]) -> None:
        self._settings = settings
        self._registry = registry
        self._failing = failing
        self._live = members(settings.data)
        self._bounds: dict[str | None, Bounds] = {}
        self._one = threading.Lock()  # one page, or one tidying, at a time

    def page(self, accept: str, organization: str | None) -> tuple[bytes, str]:
        """The page and its content type; only the rows of `organization`, if that is not None."""
        with self._one:
            totals = collection.collect(self._settings.data.metrics, self._live)
            gauges = [
                *self._of_processes(len(totals.alive)),
                *self._of_upstreams(),
                *self._of_policies(),
                *self._of_log(),
                *self._of_approvals(),
            ]
            # One organization's agents take no series from another's page.
            bounds = self._bounds.setdefault(organization, Bounds(self._settings.metrics_agents, MAX_MODELS))
            return render(totals, bounds, gauges, accept, organization)

    def tidy(self) -> None:
        """Put the files of workers that have ended into one."""
        with self._one:
            collection.fold(self._settings.data.metrics, self._live)

    def _of_processes(self, alive: int) -> list[Gauge]:
        build = Gauge("aig_build_info", "The version of the gateway; always 1.", ("version",))
        build.set(1, version())
        up = Gauge("aig_workers_up", "Data workers that are running.")
        up.set(alive)
        wanted = Gauge("aig_workers_configured", "Data workers that should run.")
        wanted.set(self._settings.workers)
        failing = Gauge("aig_duty_failing", "Duties of the control process that failed when last done.", ("duty",))
        for name in self._failing():
            failing.set(1, name)
        return [build, up, wanted, failing]

    def _of_upstreams(self) -> list[Gauge]:
        labels = ("organization", "upstream")
        good = Gauge("aig_upstream_last_success_timestamp_seconds", "When an upstream answered well last.", labels)
        bad = Gauge("aig_upstream_last_error_timestamp_seconds", "When a call to an upstream failed last.", labels)
        open_ = Gauge("aig_upstream_open_breakers", "Workers that send an upstream no calls for now.", labels)
        rows = upstreams(self._registry)
        seen, breakers = contacts.read(self._settings.data.runtime_db), status.open_breakers(self._settings.data)
        for id_, organization, name in rows:
            contact = seen.get(id_, Contact())
            if contact.success_ns:
                good.set(contact.success_ns / 1e9, organization, name)
            if contact.error_ns:
                bad.set(contact.error_ns / 1e9, organization, name)
            open_.set(len(breakers.get(id_, ())), organization, name)
        return [good, bad, open_]

    def _of_policies(self) -> list[Gauge]:
        age = Gauge("aig_policy_activation_age_seconds", "How long the policies in force have been in force.")
        active = queries.activation(self._registry)
        if active is not None:
            age.set(max(0.0, (time.time_ns() - active.created_ns) / 1e9))
        return [age]

    def _of_approvals(self) -> list[Gauge]:
        of = ("organization",)
        waits = Gauge("aig_approvals_waiting", "Calls that wait for people.", of)
        untold = Gauge("aig_approvals_untold", "Calls that wait for people, and nobody was told of them.", of)
        states = Gauge("aig_approval_notices", "Notices of calls that wait, by their state.", (*of, "state"))
        with suppress(GatewayError):  # `/readyz` and the duties say what is wrong
            found = approvals.waiting(self._registry, self._settings.data, time.time_ns())
            for name, mine in found.items():
                waits.set(mine.many, name)
                untold.set(mine.untold, name)
                for state in STATES:
                    states.set(mine.notices[state], name, state)
        return [waits, untold, states]

    def _of_log(self) -> list[Gauge]:
        checkpoint = Gauge("aig_audit_checkpoint_age_seconds", "Time since anything of the log was signed.")
        entries = Gauge("aig_audit_entries", "Entries of all logs.")
        unsigned = Gauge("aig_audit_unsigned_entries", "Entries that no checkpoint signs yet.")
        waiting = Gauge("aig_audit_unsigned_age_seconds", "Age of the oldest unsigned entry; 0 if all are signed.")
        decisions = Gauge("aig_audit_open_decisions", "Decisions whose outcome is not recorded yet.")
        reserved = "Reserved by calls under way: "
        tokens = Gauge("aig_reserved_tokens", f"{reserved}tokens.", ("organization",))
        money = Gauge("aig_reserved_usd", f"{reserved}dollars.", ("organization",))
        data, now_ns = self._settings.data, time.time_ns()
        with suppress(GatewayError):  # `/readyz` and the duties say what is wrong
            with opened_log(data) as db, db.snapshot():
                latest = balances.latest(db)
                for name in (head.organization for head in db.heads()):
                    held = latest.get(name, f"organization:{name}")
                    if not held.minute:
                        continue  # nobody of it has made a call
                    minute = max(now_ns // MINUTE_NS, held.minute)
                    tokens.set(held.at("tokens_month", minute)[1], name)
                    money.set(held.at("spend_nanousd_month", minute)[1] / 1e9, name)
                logs = [status.log_of(db, head) for head in db.heads()]
                still_open = db.open_count()
            entries.set(sum(each.size for each in logs))
            unsigned.set(sum(each.size - each.signed for each in logs))
            oldest = min(
                (each.unsigned_since_ns for each in logs if each.unsigned_since_ns is not None), default=now_ns
            )
            waiting.set(max(0.0, (now_ns - oldest) / 1e9))
            decisions.set(still_open)
        with suppress(OSError):  # nothing was ever signed
            checkpoint.set(max(0.0, (now_ns - data.signer_state.stat().st_mtime_ns) / 1e9))
        return [checkpoint, entries, unsigned, waiting, decisions, tokens, money]


def upstreams(registry: Registry) -> Sequence[tuple[str, str, str]]:
    """The id, the organization and the name of every upstream."""
    statement = select(Upstream.id, Organization.name, Upstream.name).where(
        col(Upstream.organization_id) == col(Organization.id)
    )
    with registry.read() as session:
        return session.exec(statement.order_by(col(Organization.name), col(Upstream.name))).all()
