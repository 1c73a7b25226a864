"""Evidence bundles: entries of an organization's log with all that proves them, as one file (evidence-bundle.md)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, Field

import gateway
from gateway.audit import signer
from gateway.audit.evidence.export import ExportedBundle, Sample, Wanted, export
from gateway.audit.search import Filters
from gateway.control import shapes
from gateway.control.api.audit import above, agent_id
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, Query
from gateway.control.problems import Problem
from gateway.errors import GatewayError
from gateway.policy import authorization
from gateway.policy import bundle as policy_bundle

_MOST = 20_000
"""Entries that one answer can hold; on the gateway's machine there may be any number."""

_SCHEMAS = Path(gateway.__file__).parent / "schemas"
_EXPORTED = shapes.closed(
    {
        "entries": {"type": "integer", "description": "Those of the system log included."},
        "private_rows": {"type": "integer"},
        "policies": {"type": "integer", "description": "Policy bundles whose sources are in it."},
        "missing_policies": {"type": "integer", "description": "Policy bundles that are not kept any more."},
        "unsigned": {"type": "integer", "description": "Entries that match, but are newer than the checkpoint."},
        "bundle": shapes.or_null({"type": "string", "contentEncoding": "base64"})
        | {"description": "The file; null where it was written at once."},
    }
)


class EvidenceQuery(Query):
    """Which entries are wanted: all of the log without a filter."""

    agent: str | None = Field(None, description="Only those of the agent with this name or id.")
    person: str | None = Field(None, description="Only what agents did for the person with this `sub`.")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Not included.")
    decision: str | None = Field(
        None, description="Only this decision, by its id or the beginning of it.", min_length=1
    )
    model: str | None = Field(None, description="Only decisions about this model.")
    approval: str | None = Field(None, description="Only what was recorded of this request for approval.")
    mandate: str | None = Field(None, description="Only what was recorded of this mandate, and calls under it.")
    sample: int | None = Field(None, ge=1, le=1_000_000, description="Draw so many entries from the newest checkpoint.")
    seed: str | None = Field(None, max_length=200, pattern=r"^[ -~]+$", description="By which the sample is drawn.")
    private: bool = Field(True, description="With the inputs that were judged, which name persons.")


@Operation("GET /audit/evidence", answer=_EXPORTED, heavy=True, tool="export_evidence")
def evidence(ask: Ask[None, EvidenceQuery]) -> Answer:
    """Export entries of the log with their proofs, policies, a report and two verifiers, as one zip archive.

    The decisions that match bring their ends and approvals. The gateway signs what the file holds.
    """
    given, context = ask.query, ask.context
    said = {name: _said(value) for name, value in given.model_dump(exclude_none=True, exclude={"private"}).items()}
    if (given.sample is None) != (given.seed is None) or (given.sample is not None and len(said) > 2):
        detail = "a sample is drawn from a whole log, by a seed"
        raise Problem(400, "invalid_parameter", detail, hint="name both its size and its seed, and no other filter")
    agent = agent_id(ask, given.agent)
    wanted = Wanted(
        filters=Filters(
            organization=ask.tenant,
            agent=agent,
            above=() if agent is None else above(ask, agent),
            id=given.decision,
            person=given.person,
            model=given.model,
            approval=given.approval,
            mandate=given.mandate,
            since_ns=nanoseconds(given.since),
            until_ns=nanoseconds(given.until),
        ),
        said=said,
        sample=None if given.sample is None else Sample(count=given.sample, seed=given.seed or ""),
        private=given.private,
        system=ask.caller.organization is None,
        most=None if ask.caller.is_here else _MOST,
    )

    def policy(digest: str) -> Mapping[str, bytes] | None:
        try:
            return policy_bundle.read(context.data.bundles / digest)
        except GatewayError:
            return None

    def made(file: Any) -> ExportedBundle:
        key = signer.load_signer(context.data)
        with context.log() as db:
            return export(
                db, file, wanted, signer=key, policy=policy, schemas=_SCHEMAS, version=authorization.engine_version()
            )

    if ask.caller.is_here:  # it goes where the command wants it, however large it is
        found: list[ExportedBundle] = []
        ask.deliver(lambda file: found.append(made(file)))
        if found:
            return Answer(body=_numbers(found[0]) | {"bundle": None})
    memory = io.BytesIO()
    done = made(memory)
    return Answer(body=_numbers(done) | {"bundle": base64.b64encode(memory.getvalue()).decode()})


def _numbers(done: ExportedBundle) -> dict[str, Any]:
    return {name: getattr(done, name) for name in _EXPORTED["properties"] if name != "bundle"}


def _said(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
