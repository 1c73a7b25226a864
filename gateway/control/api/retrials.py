"""A recorded decision, judged by another revision of its bundles: what would the verdict have been, and why?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

import orjson
from pydantic import Field

from gateway.audit import lookup
from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Operation, Query
from gateway.errors import GatewayError, Hint, UnknownError
from gateway.policy import bundle as policy_bundle
from gateway.policy import reexecution
from gateway.policy.bundle import Files
from gateway.policy.reexecution import RecordedBundle

IN_FORCE: Final = "in-force"

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_VERDICT = shapes.closed({"allow": {"type": "boolean"}, "reason": _TEXT, "reasons": _TEXTS})
_ANSWER = shapes.closed(
    {
        "id": _TEXT,
        "commit": {"type": "string", "description": "As it was asked for."},
        "recorded": _VERDICT,
        "judged_again": shapes.or_null(_VERDICT) | {"description": "By the other revision; null if it cannot be."},
        "agrees": {
            "type": ["boolean", "null"],
            "description": "Whether that is what was recorded; null if it need not be, see `problem`.",
        },
        "problem": {"type": "string", "description": "Why it cannot be judged, or need not be comparable."},
        "with_content": {"type": "boolean", "description": "Whether the kept request was judged as well."},
        "bundles": {"type": "array", "items": {"type": "object"}, "description": "The verdict of each bundle."},
        "unchanged": _TEXTS | {"description": "The bundles that decide as those that judged then: nothing differs."},
        "notes": _TEXTS | {"description": "What was assumed, for people."},
    }
)


class RetrialQuery(Query):
    """Which revision is to judge."""

    commit: str = Field(
        IN_FORCE,
        min_length=1,
        max_length=200,
        description="A commit, branch or tag of the policies repository, or `in-force`.",
    )
    bundle: str | None = Field(None, description="Only this bundle is another one; the others judge as they did.")
    explain: bool = Field(False, description="Also which rules held and where others failed, with their modules.")


@Operation(
    "GET /audit/entries/{event}/verdict",
    answer=_ANSWER,
    about="home",
    heavy=True,
    tool="judge_decision_again",
    question="Would this call be allowed by the policies of another commit, or by those of today?",
)
def verdict(ask: Ask[None, RetrialQuery]) -> Answer:
    """Judge a recorded decision by another revision of its bundles; nothing is recorded or changed."""
    from gateway.control.kept_requests import completing
    from gateway.policy.rollout import retrial

    given = ask.query
    ask.check_also_reads("policies")
    with ask.context.log() as db, db.snapshot():
        found = lookup.event(db, ask.path["event"], ask.organization)
        if found.kind not in ("decided", "completed"):
            raise GatewayError("not_a_decision", f"`{found.event_id}` is no decision", subject=found.event_id)
        decision = lookup.decision(db, found)
        filled = completing(lambda: nullcontext(ask.registry), lambda: ask.context.vault)(
            db, decision.decided, decision.input
        )
    entry = decision.decided.entry
    judges = reexecution.judges(entry)
    if not judges:
        message = f"no bundle was asked about `{decision.id}`: the call was refused before"
        raise GatewayError("no_bundle_judged", message, subject=decision.id, kind="conflict")
    if given.bundle is not None and given.bundle not in {each.name for each in judges}:
        named = ", ".join(sorted({each.name for each in judges}))
        raise UnknownError("bundle", f"no bundle `{given.bundle}` judged it", hint=f"it was judged by {named}")
    others = _Others(ask, given.commit)
    members = [
        others.member(each)
        if given.bundle in (None, each.name)
        else retrial.TriedBundle(
            name=each.name,
            commit=each.commit,
            effect=each.effect,
            files=policy_bundle.read(ask.context.data.bundles / each.digest),
        )
        for each in judges
    ]
    again = retrial.judge(members, entry, decision.input, filled, explained=given.explain)
    before = reexecution.recorded(entry)
    same = [
        each.name
        for each, member in zip(judges, members, strict=True)
        if policy_bundle.digest(member.files) == each.digest
    ]
    return Answer(
        body={
            "id": decision.id,
            "commit": given.commit,
            "recorded": {"allow": before.allow, "reason": before.code, "reasons": list(before.reasons)},
            "judged_again": again.verdict,
            "agrees": again.agrees,
            "problem": again.problem,
            "with_content": filled is not decision.input,
            # Policies may have numbers of any size.
            "bundles": orjson.Fragment(json.dumps(again.bundles).encode()),
            "unchanged": same,
            "notes": _notes(entry, judges, same),
        }
    )


class _Others:
    """The bundles of another revision: what is published, or else what the repository has."""

    def __init__(self, ask: Ask[None, RetrialQuery], commit: str) -> None:
        self._ask = ask
        self._commit = commit
        self._read: tuple[str, dict[str, Files]] | None = None

    def member(self, judge: RecordedBundle) -> Any:
        from gateway.policy.rollout.retrial import TriedBundle

        commit, files = self._published(judge.name) or self._committed(judge.name)
        return TriedBundle(name=judge.name, commit=commit, effect=judge.effect, files=files)

    def _published(self, name: str) -> tuple[str, Files] | None:
        """A revision that was in force once: it is there even if the repository is not."""
        from gateway.registry.queries import find_bundle

        in_force = self._commit == IN_FORCE
        try:
            with self._ask.registry.read() as session:
                row = find_bundle(session, name, None if in_force else self._commit)
                commit, digest = row.revision, row.digest
        except UnknownError:
            if in_force:
                raise
            return None
        return commit, policy_bundle.read(self._ask.context.data.bundles / digest)

    def _committed(self, name: str) -> tuple[str, Files]:
        """A commit that need not have been in force, which only operators of the whole gateway see."""
        if self._ask.caller.organization is not None:
            message = f"bundle `{name}` was never in force at `{self._commit}`"
            hint = "name a commit that was in force, or in-force"
            raise UnknownError("commit", message, subject=self._commit, hint=hint)
        if self._read is None:
            from gateway.policy.rollout.revisions import Revisions

            source = Revisions.of(self._ask.context.settings)
            commit = source.resolve(self._commit)
            self._read = commit, source.bundles(commit)
        commit, bundles = self._read
        if name not in bundles:
            raise UnknownError(
                "bundle",
                f"commit {commit[:12]} has no bundle `{name}`",
                subject=name,
                hint=Hint("name another commit, or with --bundle the bundle that it is about", api="send `bundle`"),
            )
        return commit, bundles[name]


def _notes(entry: Mapping[str, Any], judges: list[RecordedBundle], same: list[str]) -> list[str]:
    found = []
    if len(same) == len(judges):
        found.append("this revision decides as the one that judged: no file that can matter differs")
    drawn = str(entry.get("nondeterministic_json") or "")
    if any(each.digest in drawn and each.name not in same for each in judges):
        found.append("values that the policies drew by chance were drawn anew")
    return found
