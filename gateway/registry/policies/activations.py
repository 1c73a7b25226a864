"""The policy revisions that are known, and those in force (architecture.md, section 11).

The caller has fetched, compiled and tested the bundles; here they come into force. Each function is one transaction
with its audit entry. Activations belong to the deployment: their entries go to its log.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from sqlmodel import Session

from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Activation, ActivationBundle, ActivationCurrent, Bundle
from gateway.registry.queries import current_activation, needed_bundles
from gateway.registry.records import ActivationRecord, BundleRecord


def activate(
    registry: Registry, *, actor: str, commit: str, author: str, bundles: Iterable[BundleRecord]
) -> ActivationRecord:
    """Put a set of tested revisions into force, all at once, for the next request in every worker.

    Each revision is remembered, so that bindings can be pinned to it later. If exactly this set is in force already,
    nothing changes. Raises `GatewayError` (`bundle_missing`) if somebody is bound to a bundle that is not in the set.
    """
    members = sorted(bundles, key=lambda each: each.name)
    with registry.write() as session:
        # Here as well as before the tests, which take a while: a binding may have been made meanwhile.
        if missing := missing_bundles(session, {each.name for each in members}):
            raise GatewayError("bundle_missing", next(iter(missing.values())), subject=next(iter(missing)))
        before = current_activation(session)
        if before is not None and before.commit == commit and list(before.bundles.values()) == members:
            return before
        for each in members:
            _record(session, each)
        row = Activation(id=new_id("act"), revision=commit, actor=actor, created_ns=time.time_ns())
        session.add(row)
        session.flush()
        for each in members:
            session.add(ActivationBundle(activation_id=row.id, name=each.name, revision=each.commit))
        session.flush()
        current = session.get(ActivationCurrent, 1) or ActivationCurrent(activation_id=row.id)
        current.activation_id = row.id
        session.add(current)
        fields = _fields(commit, author) | {
            "bundles_json": outbox.document([_summary(each) for each in members]),
            "before": before.id if before is not None else None,
        }
        outbox.add_activation(session, actor=actor, activation=row.id, outcome="ok", fields=fields)
        return ActivationRecord(
            id=row.id,
            commit=commit,
            actor=actor,
            created_ns=row.created_ns,
            bundles={each.name: each for each in members},
        )


def missing_bundles(session: Session, names: Collection[str]) -> dict[str, str]:
    """The bundles that an activation of `names` would lack, and why they are needed: somebody is bound to them."""
    return {
        bundle: f"`{subject}` is bound to it, but the commit does not hold it: bring it back, or type `gateway unbind "
        f"{subject} {bundle}`"
        for bundle, subject in sorted(needed_bundles(session).items())
        if bundle not in names
    }


def refuse_activation(registry: Registry, *, actor: str, commit: str, author: str, outcome: str, detail: str) -> None:
    """Put on record that a commit was not activated: `outcome` is a word for why, `detail` what was found."""
    with registry.write() as session:
        fields = _fields(commit, author) | {"detail": _cut(detail, 2000)}
        outbox.add_activation(session, actor=actor, activation="", outcome=outcome, fields=fields)


def _record(session: Session, bundle: BundleRecord) -> None:
    names.check_name("bundle", bundle.name)
    known = session.get(Bundle, (bundle.name, bundle.commit))
    if known is None:
        session.add(
            Bundle(
                name=bundle.name,
                revision=bundle.commit,
                digest=bundle.digest,
                author=bundle.author,
                entrypoint=bundle.entrypoint,
                tested_ns=time.time_ns(),
            )
        )
        session.flush()
    elif known.digest != bundle.digest:
        # A commit names its content. Another digest means that the store or the digest's definition is wrong.
        raise GatewayError(
            "bundle_conflict",
            f"bundle `{bundle.name}` at commit `{bundle.commit}` was recorded with another digest",
            subject=bundle.name,
        )


def _fields(commit: str, author: str) -> dict[str, str | int | bool | None]:
    return {"commit": commit, "author": _cut(author, 200)}


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8: what comes from a repository or a test run must fit into a leaf."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _summary(bundle: BundleRecord) -> dict[str, str]:
    return {
        "name": bundle.name,
        "digest": bundle.digest,
        "commit": bundle.commit,
        "entrypoint": bundle.entrypoint,
    }
