"""The facts of `gateway status` about a gateway, running or not (architecture.md, section 12).

Everything is read as it is on disk, by the rights of the user who asks. A running gateway is asked one more thing:
whether its listeners are ready. Nothing is changed. `findings.py` judges what is found here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from yarl import URL

from gateway.audit import checkpoint as checkpoints
from gateway.audit import clock, publication, search, signer
from gateway.audit.log_files import opened_log
from gateway.audit.log_reader import Head, IndexedLog
from gateway.data_directory import DataDirectory
from gateway.dataplane import outages
from gateway.dataplane.outages import Outage
from gateway.errors import GatewayError
from gateway.identifiers import time_ns_of
from gateway.identity import token_keys
from gateway.identity.credentials import Peppers
from gateway.identity.token_keys import TokenKeyState
from gateway.outbound.addresses import ANYWHERE
from gateway.outbound.client import NotConnectedError, Outgoing
from gateway.outbound.fetch import fetch
from gateway.policy.rollout import fetch as policy_fetch
from gateway.policy.rollout.source import GitSource
from gateway.policy.rollout.state import OK, attempted
from gateway.processes import certificates, parts
from gateway.processes.openness import Access, access
from gateway.registry import inventory
from gateway.registry.database import Registry
from gateway.registry.history import agreement
from gateway.registry.inventory import Inventory
from gateway.runtime import contacts, handover, key_uses, legacy_clients
from gateway.runtime.contacts import Contact, OpenBreaker
from gateway.runtime.key_uses import LastUses
from gateway.runtime.legacy_clients import LegacyClient
from gateway.runtime.status_part import StatusPart
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import Vault
from gateway.settings import Settings
from gateway.storage import liveness
from gateway.storage.liveness import members

_PROBE_SECONDS = 3.0
_MOST_BYTES = 64 * 1024
_COMPARED = 200_000  # entries, whose changes are read in a fraction of a second
# Entries about commits that are looked at for the last refused one.
_ACTIVATIONS = 50
_PLACE = re.compile(r"(?P<file>[\w./-]*(?:\.rego|\.json|\.ya?ml|\.manifest)):(?P<line>\d+)")

_BUNDLE = re.compile(r"bundle (\S+): ")


@dataclass(frozen=True, slots=True)
class Process:
    """The gateway's processes. `faults` says for each listener that is not ready what it answers."""

    running: bool
    starting: bool = False
    pid: int = 0
    since_ns: int | None = None
    version: str = ""
    data_plane: str = ""
    control_plane: str = ""
    workers: int = 0
    # The boot ids of workers that run, and of those that run and give no sign of life.
    alive: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedCommit:
    """The last commit that was not put into force. `place` is `bundle/file:line` where the reason names one."""

    commit: str
    author: str
    time_ns: int
    outcome: str
    reason: str
    place: str


@dataclass(frozen=True, slots=True)
class Policies:
    """The commit that the ref names now, or why that cannot be told; and the last refused commit."""

    repository: str
    ref: str
    head: str = ""
    author: str = ""
    problem: str = ""
    refusal: RefusedCommit | None = None


@dataclass(frozen=True, slots=True)
class LogStatus:
    """One log: its entries, how many of them its newest checkpoint signs, and since when the others wait for one.

    `time_ns` is that of its last entry; `clock_accepted` says that it goes on although the clock is behind that.
    """

    organization: str
    size: int
    signed: int
    unsigned_since_ns: int | None
    time_ns: int = 0
    clock_accepted: bool = False


@dataclass(frozen=True, slots=True)
class Logs:
    """All logs. `signed_ns` is when anything was signed last; `open` counts decisions whose outcome is not recorded.

    `published_ns` is when anything was published last, `unpublished` are the organizations whose logs are signed
    further than they are published; None and empty without the setting `publish_to`.
    """

    logs: list[LogStatus] = field(default_factory=list)
    signed_ns: int | None = None
    open: int = 0
    problem: str = ""
    published_ns: int | None = None
    unpublished: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known. `contacts`, `breakers` (the open ones of workers that are alive) and `sealed` (why a
    secret cannot be opened) go by the upstream's id.

    `keys` are the errors of the files in `keys/` that cannot be used, `certificates` of those that expire.
    """

    now_ns: int
    process: Process
    policies: Policies
    inventory: Inventory
    logs: Logs
    contacts: dict[str, Contact]
    breakers: dict[str, list[OpenBreaker]]
    sealed: dict[str, str]
    keys: list[GatewayError]
    certificates: list[GatewayError] = field(default_factory=list)
    # Further nouns.
    parts: Sequence[StatusPart] = ()
    # When keys (their ids) were used last.
    uses: LastUses = field(default_factory=LastUses)
    # Those that still use a provider's key.
    clients: list[LegacyClient] = field(default_factory=list)
    # Rows of the registry that are not as the log says.
    edited: list[str] = field(default_factory=list)
    # Those of whom every request is refused.
    outages: list[Outage] = field(default_factory=list)
    # The keys that sign and verify tokens, newest first.
    token_keys: list[TokenKeyState] = field(default_factory=list)
    # The files that others can read, and those who could put another directory in its place.
    access: Access = field(default_factory=Access)
    # The bytes that this user may still write on the disk of the data directory; None if that is not known.
    free_bytes: int | None = None

    def to_move(self, organization: str) -> int:
        """The number of an organization's clients that still use a provider's key."""
        return sum(each.organization == organization for each in self.clients)


def look(settings: Settings, opened: Registry | None = None) -> Facts:
    """Read everything. Raises `GatewayError` if there is no gateway there, or its registry cannot be read.

    `opened` is the registry, if it is open: another one would have to learn its statements anew, which takes longest.
    """
    data = settings.data
    now_ns = time.time_ns()
    registry = opened or Registry.open(data)
    try:
        found = inventory.take(registry, now_ns)
        edited = _edited(registry, data)
        nouns = [each(data, registry) for each in parts.STATUS]
    finally:
        if opened is None:
            registry.close()
    logs, refusal = _logs(settings)
    looked_at = [*(each.id for each in found.retiring), *(each.id for each in found.old_keys)]
    vault = Vault.tried(KeySource.of(settings))
    return Facts(
        now_ns=now_ns,
        process=_process(data),
        policies=_policies(settings, refusal),
        inventory=found,
        logs=logs,
        contacts=contacts.read(data.runtime_db),
        breakers=open_breakers(data),
        sealed=inventory.sealed_faults((each for tenant in found.tenants for each in tenant.upstreams), vault),
        keys=_key_faults(data, vault),
        certificates=certificates.expiring(settings, now_ns),
        parts=nouns,
        edited=edited,
        outages=outages.read(data.runtime_db, members(data), now_ns),
        uses=key_uses.read(data.runtime_db, looked_at),
        clients=[each for each in legacy_clients.read(data.runtime_db) if not each.moved(now_ns)],
        token_keys=token_keys.states(data.keys),
        access=access(data),
        free_bytes=_free_bytes(data),
    )


def _free_bytes(data: DataDirectory) -> int | None:
    try:
        found = os.statvfs(data.path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _edited(registry: Registry, data: DataDirectory) -> list[str]:
    """The differences of the registry from the log, if that is short; of a long one `gateway audit verify` tells."""
    try:
        with opened_log(data) as db:
            if search.last_position(db) > _COMPARED:
                return []
            return [str(each) for each in agreement.found(registry, db)]
    except GatewayError:  # which `_logs` tells of
        return []


def _process(data: DataDirectory) -> Process:
    told = liveness.running(data)
    if told is None:
        return Process(running=False)
    try:
        about: dict[str, Any] = json.loads(told)
    except ValueError:  # it has not come up yet
        return Process(running=True, starting=True)
    live = members(data)
    faults = {}
    for name in ("data_plane", "control_plane"):
        if fault := _fault(about[name]):
            faults[about[name]] = fault
    silent = about.get("silent", ())
    alive = [boot for boot in handover.workers(data.runtime_db) if boot in live and boot not in silent]
    return Process(running=True, alive=alive, faults=faults, **about)


def open_breakers(data: DataDirectory) -> dict[str, list[OpenBreaker]]:
    """The open breakers of workers that are alive, by the upstream's id."""
    live = members(data)
    found = contacts.open_breakers(data.runtime_db)
    alive = {upstream: [each for each in breakers if each.worker in live] for upstream, breakers in found.items()}
    return {upstream: breakers for upstream, breakers in alive.items() if breakers}


def _fault(address: str) -> str:
    """The fault of a listener; "" if it is ready."""
    parts = urlsplit(address)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")  # noqa: S104  # not bound to
    url = URL.build(scheme=parts.scheme, host=host, port=parts.port, path="/readyz")
    # Nothing secret is asked or told here, and the certificate is for the names that agents use.
    asked = fetch(
        Outgoing("GET", url, {}, b""), ANYWHERE, seconds=_PROBE_SECONDS, most=_MOST_BYTES, tls=_any_certificate()
    )
    try:
        status, body = asyncio.run(asked)
        return "" if status == 200 else f"is not ready: {', '.join(json.loads(body).get('failing', []))}"
    except TimeoutError:
        return f"does not answer within {_PROBE_SECONDS:g} s"
    except NotConnectedError as error:
        return f"does not answer: {error.why}"
    except (GatewayError, ValueError, AttributeError) as error:
        return f"does not answer: {type(error).__name__.lower()}"


def _any_certificate() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def _policies(settings: Settings, refusal: RefusedCommit | None) -> Policies:
    where, ref = str(settings.policies_repository or settings.repository), settings.policies_ref
    fetched = policy_fetch.state(settings)
    if why := policy_fetch.missing(settings):
        return Policies(where, ref, problem=why, refusal=refusal)
    problem = fetched.error if fetched else ""
    try:
        head = GitSource(settings.repository, settings.policies_path, ref).head()
    except GatewayError as error:
        problem = problem or (f"{error.message}: {error.hint}" if error.hint else error.message)
        return Policies(where, ref, problem=problem, refusal=refusal)
    return Policies(where, ref, head.commit, head.author, problem, refusal)


def _logs(settings: Settings) -> tuple[Logs, RefusedCommit | None]:
    data = settings.data
    try:
        with opened_log(data) as db, db.snapshot():
            heads = db.heads()
            logs = [log_of(db, head) for head in heads]
            still_open = db.open_count()
            refusal = _refusal(db)
    except GatewayError as error:
        return Logs(problem=error.message if isinstance(error, GatewayError) else str(error)), None
    try:
        signed_ns = data.signer_state.stat().st_mtime_ns
    except OSError:  # nothing was ever signed
        signed_ns = None
    published_ns, unpublished = None, []
    if settings.publish_to is not None:
        names = settings.publish_organizations
        there = {publication.ALL, *(each.organization for each in logs)}
        unpublished = [each for each in names if each not in there]
        for head, each in zip(heads, logs, strict=True):
            if publication.ALL not in names and each.organization not in names:
                continue
            size, at_ns = publication.size_of(settings.publish_to, head.origin) or (0, None)
            if size < each.signed:
                unpublished.append(each.organization)
            published_ns = max((known for known in (published_ns, at_ns) if known is not None), default=None)
    return Logs(logs, signed_ns, still_open, published_ns=published_ns, unpublished=unpublished), refusal


def log_of(db: IndexedLog, head: Head) -> LogStatus:
    """The signed part of a log."""
    note = db.newest_checkpoint(head.id)
    signed = 0
    if note is not None:
        try:
            # Only what it says: `gateway audit verify` checks who signed it.
            signed = checkpoints.parse(note.partition("\n\n")[0] + "\n").size
        except GatewayError:
            signed = 0
    row = db.execute("SELECT time_ns FROM entry WHERE log_id = ? AND seq = ?", (head.id, signed)).fetchone()
    accepted = clock.is_accepted(db, head.id, head.time_ns)
    return LogStatus(head.organization, head.size, signed, row[0] if row else None, head.time_ns, accepted)


def _refusal(db: IndexedLog) -> RefusedCommit | None:
    for each in attempted(db, _ACTIVATIONS):
        if each.outcome != OK:
            place, bundle = _PLACE.search(each.detail), _BUNDLE.match(each.detail)
            where = f"{bundle[1]}/{place[0]}" if bundle and place else place[0] if place else ""
            return RefusedCommit(each.commit, each.author, each.time_ns, each.outcome, each.detail, where)
    return None


def _key_faults(data: DataDirectory, vault: Vault | GatewayError) -> list[GatewayError]:
    found: list[GatewayError] = []
    reads = (lambda: Peppers.load(data.keys), lambda: vault, lambda: signer.load_verifier(signer.public_key_path(data)))
    for read in reads:
        try:
            if isinstance(made := read(), GatewayError):
                raise made
        except GatewayError as error:
            found.append(error)
    return found


def document(facts: Facts) -> dict[str, Any]:
    """The facts as `gateway status --json` prints them; names that end in `_ns` are times."""
    process, active, policies = facts.process, facts.inventory.activation, facts.policies
    return {
        "gateway": {
            "running": process.running,
            "starting": process.starting,
            "since_ns": process.since_ns,
            "version": process.version or None,
            "pid": process.pid or None,
            "data_plane": process.data_plane or None,
            "control_plane": process.control_plane or None,
            "not_ready": process.faults,
        },
        "workers": {
            "wanted": process.workers,
            "alive": [{"boot": boot, "since_ns": time_ns_of(boot)} for boot in process.alive],
        },
        "activation": None
        if active is None
        else {
            "id": active.id,
            "commit": active.commit,
            "author": _author(facts),
            "since_ns": active.created_ns,
            "age_seconds": _seconds(facts, active.created_ns),
            "bundles": sorted(active.bundles),
        },
        "policies": {
            "repository": policies.repository,
            "ref": policies.ref,
            "head": policies.head or None,
            "problem": policies.problem or None,
        },
        "refused": policies.refusal,
        "agents": {state: count(facts, state) for state in ("active", "suspended")},
        "stops": facts.inventory.stops,
        "edited": facts.edited,
        "outages": [
            {**each.scope._asdict(), "since_ns": each.since_ns, "last_ns": each.last_ns, "refusals": each.refusals}
            | {"reasons": list(each.codes)}
            for each in facts.outages
        ],
        "suspended": {
            "organizations": [each.name for each in facts.inventory.tenants if each.status == "suspended"],
            "teams": [
                {"organization": each.name, "team": team}
                for each in facts.inventory.tenants
                for team, state in each.inactive_teams.items()
                if state == "suspended"
            ],
        },
        "log": {
            "logs": facts.logs.logs,
            "checkpoint_ns": facts.logs.signed_ns,
            "checkpoint_age_seconds": _seconds(facts, facts.logs.signed_ns),
            "published_ns": facts.logs.published_ns,
            "published_age_seconds": _seconds(facts, facts.logs.published_ns),
            "unpublished": facts.logs.unpublished,
            "open_decisions": facts.logs.open,
            "owed_entries": facts.inventory.owed,
            "problem": facts.logs.problem or None,
        },
        "upstreams": [
            {
                "organization": tenant.name,
                "name": each.record.name,
                "provider": each.record.provider,
                "base_url": each.record.base_url,
                "default": each.record.default,
                "last_success_ns": contact.success_ns or None,
                "last_error": {"time_ns": contact.error_ns, "message": contact.error} if contact.error_ns else None,
                "open_breakers": facts.breakers.get(each.record.id, []),
            }
            for tenant in facts.inventory.tenants
            for each in tenant.upstreams
            for contact in [facts.contacts.get(each.record.id, Contact())]
        ],
        "adoptions": [
            {"adoption": each, "state": each.state(facts.now_ns), "clients_to_move": facts.to_move(tenant.name)}
            for tenant in facts.inventory.tenants
            for each in tenant.adoptions
        ],
    } | {part.name: [row for tenant in facts.inventory.tenants for row in part.rows(tenant)] for part in facts.parts}


def count(facts: Facts, state: str) -> int:
    """The number of agents of all organizations in this state."""
    return sum(tenant.agents.states.get(state, 0) for tenant in facts.inventory.tenants)


def _author(facts: Facts) -> str:
    active = facts.inventory.activation
    authors = {bundle.author for bundle in active.bundles.values()} if active else set()
    return next(iter(authors), "")


def _seconds(facts: Facts, since_ns: int | None) -> int | None:
    return None if since_ns is None else max(0, (facts.now_ns - since_ns) // 1_000_000_000)
