"""The impact of a candidate: which past calls would have been decided otherwise by other policies (impact.md)."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final, Literal

import orjson
from pydantic import AwareDatetime, Field

from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Body, Operation
from gateway.errors import GatewayError
from gateway.policy.bundle import Files

_MOST_BYTES: Final = 16 * 1024 * 1024
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_COUNT = {"type": "integer"}
_REASONED = {"type": "object", "additionalProperties": _COUNT}
_OUTCOME = {"enum": ["allow", "approval", "deny"]}
_FIGURES = {
    "before": _OUTCOME,
    "after": _OUTCOME,
    "count": _COUNT,
    "unexpected": _COUNT,
    "cost_nanousd": _COUNT | {"description": "What these calls have cost, as the log has it."},
    "example": {"type": "string", "description": "The id of one of these decisions."},
}
_FLIP = shapes.closed(
    {
        "id": _TEXT,
        "organization": _TEXT,
        "index": _COUNT | {"description": "Of its entry in the log of the organization."},
        "time": shapes.TIME,
        **dict.fromkeys(("agent", "agent_name", "team", "action", "upstream", "model", "tool"), _TEXT),
        "before": _OUTCOME,
        "after": _OUTCOME,
        "reason": _TEXT,
        "reasons": _TEXTS,
        "reason_after": _TEXT,
        "reasons_after": _TEXTS,
        "rules": _TEXTS | {"description": "The rules that made the difference: BUNDLE/FILE:LINE and their names."},
        "cost_nanousd": {"type": ["integer", "null"]},
        "expected": {"type": "boolean"},
    }
)


def _list(*texts: str, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": shapes.closed({**_FIGURES, **dict.fromkeys(texts, _TEXT), **more})}


_ANSWER = shapes.closed(
    {
        "candidate": shapes.closed({"commit": _TEXT, "bundles": {"type": "object", "additionalProperties": _TEXT}}),
        "logs": {
            "type": "array",
            "items": shapes.closed({"organization": _TEXT, "origin": _TEXT, "size": _COUNT, "root": _TEXT}),
            "description": "The logs that were read, as far as they went.",
        },
        "decisions": _COUNT,
        "same": _COUNT,
        "flips": _COUNT | {"description": "Decisions with another outcome."},
        "unexpected": _COUNT | {"description": "Flips that no member of `expected` has matched."},
        "otherwise": _REASONED | {"description": "The same outcome, but something else differs: how many, by what."},
        "untold": _REASONED | {"description": "Decisions about which nobody can tell, by the reason."},
        "unasked": _REASONED | {"description": "Calls about which no policy was asked, by the reason."},
        "kinds": _list(),
        "rules": _list(rules=_TEXTS, reasons=_TEXTS),
        "agents": _list("organization", "agent", "name"),
        "expected": {
            "type": "array",
            "items": shapes.closed(
                {"number": _COUNT, "matched": _COUNT, "at_most": {"type": ["integer", "null"]}, "why": _TEXT}
            ),
        },
        "signature": {
            "type": ["string", "null"],
            "description": "A note with the digest of the rest, signed as `DEPLOYMENT/policy-impact`.",
        },
        "items": {"type": "array", "items": _FLIP, "description": "The flips, most dangerous first, then newest."},
    }
)


class ExpectedFlips(Body):
    """Flips that are expected; patterns have `*` and `?`. Without members all are."""

    before: Literal["allow", "approval", "deny"] | None = None
    after: Literal["allow", "approval", "deny"] | None = None
    agent: str = Field("*", description="By its name.")
    organization: str = "*"
    team: str = "*"
    action: str = "*"
    upstream: str = "*"
    model: str = "*"
    tool: str = "*"
    rule: str = Field("*", description="A place such as `support/authz.rego:*`, or a reason.")
    at_most: int | None = Field(None, ge=0, description="Only so many of them.")
    why: str = Field("", max_length=500)


class ImpactBody(Body):
    """A candidate: a commit, or bundles as they lie in a directory."""

    commit: str | None = Field(
        None, min_length=1, max_length=200, description="A commit, branch or tag of the policies repository."
    )
    bundles: dict[str, dict[str, str]] | None = Field(
        None, description="Instead: the files of each bundle in base64, by the bundle's name and by their paths."
    )
    organization: str | None = Field(None, description="Only decisions about its agents.")
    since: AwareDatetime | None = Field(None, description="Only decisions from this time on.")
    until: AwareDatetime | None = Field(None, description="Only decisions before this time.")
    expect: list[ExpectedFlips] = Field(default_factory=list, max_length=1000)
    listed: int = Field(1000, ge=0, le=10_000, description="The most flips that are listed; all are counted.")


@Operation(
    "POST /policies/impact",
    answer=_ANSWER,
    about="gateway",
    heavy=True,
    changes_nothing=True,
    most_bytes=_MOST_BYTES,
    tool="policy_impact",
    question="Which calls of the past would be decided otherwise by this change of the policies?",
)
def impact(ask: Ask[ImpactBody]) -> Answer:
    """Judge all past decisions by a candidate of the policies, and say which would have had another outcome.

    Decisions of which the log has not kept what the candidate reads are counted with the reason. Nothing is recorded or
    changed.
    """
    from gateway.audit import signer
    from gateway.audit.errors import AuditError
    from gateway.audit.search import DecidedRow, FoundEntry
    from gateway.control.kept_requests import completing
    from gateway.policy.rollout import impact as impacts
    from gateway.registry.documents import plain

    given, context = ask.body, ask.context
    ask.check_also_reads("audit", "usage")
    commit, bundles = _candidate(ask)
    with context.log() as db, db.snapshot():
        fill = completing(lambda: nullcontext(ask.registry), lambda: context.vault)

        def complete(row: DecidedRow) -> DecidedRow:
            if row.input is None or b'"content_commitment"' not in row.leaf:
                return row
            document, entry = orjson.loads(row.input), orjson.loads(row.leaf)
            found = FoundEntry(row.position, row.organization, row.seq, "decided", row.time_ns, entry, row.event_id)
            filled = fill(db, found, document)
            return row if filled is document else dataclasses.replace(row, input=orjson.dumps(filled))

        found = impacts.report(
            db,
            context.data.bundles,
            bundles,
            commit,
            scope=impacts.Scope(
                organization=given.organization, since_ns=nanoseconds(given.since), until_ns=nanoseconds(given.until)
            ),
            complete=complete,
            expected=[impacts.Expectation(**each.model_dump()) for each in given.expect],
            listed=given.listed,
            progress=context.progress,
        )
    body: dict[str, Any] = plain(found)
    try:
        signature = signer.sign_statement(context.data, impacts.KIND, impacts.statement(body))
    except AuditError:  # a copy of the log has no key beside it
        signature = None
    return Answer(body={**body, "signature": signature})


def _candidate(ask: Ask[ImpactBody]) -> tuple[str, Mapping[str, Files]]:
    given = ask.body
    if (given.commit is None) == (given.bundles is None):
        raise GatewayError("bad_input", "one of `commit` and `bundles` is needed, and not both")
    if given.commit is not None:
        from gateway.policy.rollout.revisions import Revisions

        source = Revisions.of(ask.context.settings)
        commit = source.resolve(given.commit)
        found: Mapping[str, Files] = source.bundles(commit)
    else:
        commit = ""
        try:
            found = {
                name: {path: base64.b64decode(text, validate=True) for path, text in files.items()}
                for name, files in (given.bundles or {}).items()
            }
        except (binascii.Error, ValueError) as error:
            raise GatewayError("bad_input", "a file of `bundles` is not base64") from error
        _check_paths(found)
    if not found:
        raise GatewayError("no_bundles", "the candidate holds no bundle: no directory with a `.manifest`")
    return commit, found


def _check_paths(bundles: Mapping[str, Files]) -> None:
    from gateway.policy.bundle import check_path, manifest
    from gateway.registry import names

    for name, files in bundles.items():
        names.check_name("bundle", name)
        for path in files:
            check_path(path)
        manifest(files.get(".manifest", b""), name)
