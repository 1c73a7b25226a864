"""The effect that other policies would have had on a recorded decision: none, another outcome, or nobody can tell.

The bundles of a candidate stand in for those of the same names, and judge what the log has kept of the call, with the
clock, the seed and the approval of then. A verdict is compared with the recorded one and, where they differ, with that
of the bundles of then, so that nothing is blamed on the candidate that limits, an upstream or another agent did. A
decision that depends on something the log has not kept is counted apart, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import orjson

from gateway.errors import GatewayError
from gateway.policy import authorization, reexecution
from gateway.policy.cache import CompiledBundle, content_paths
from gateway.policy.decision import ALLOWED, APPROVAL, Verdict
from gateway.policy.input import InputPath, content_of
from gateway.policy.obligations import Conflict, Obligations, together
from gateway.policy.reexecution import Recorded, RecordedBundle
from gateway.policy.similar_model import with_model

Outcome: TypeAlias = Literal["allow", "approval", "deny"]
Kind: TypeAlias = Literal["same", "flip", "otherwise", "untold", "unasked"]

FLIPS: Final[tuple[tuple[Outcome, Outcome], ...]] = (
    ("deny", "allow"),
    ("approval", "allow"),
    ("deny", "approval"),
    ("allow", "approval"),
    ("approval", "deny"),
    ("allow", "deny"),
)
"""The changes of an outcome, the most dangerous first."""

_MOST_KEPT: Final = 50_000  # verdicts; a bundle that reads little has few different ones
_TRIED: Final = 2_000  # look-ups after which keeping verdicts must have been of use
# Where the input has what the gateway changed because policies obliged it to, by the names of these changes.
_EDITED: Final[Mapping[str, tuple[InputPath, ...]]] = {
    "max_output_tokens": (("request", "max_output_tokens"),),
    "strip_tools": (("request", "tools"),),
    "model": (("resource", "model"), ("resource", "models"), ("request", "path")),
}


@dataclass(frozen=True, slots=True)
class Effects:
    """The effect on one decision. `before` and `after` are given for a flip, and verdicts for whatever differs.

    `problem` says why an effect is `untold`, what differs if the outcome is the same (`otherwise`), or why no policy
    was asked. `old` and `new` are the bundles of both sides that were asked, for an explanation.
    """

    kind: Kind
    problem: str = ""
    before: Outcome = "deny"
    after: Outcome = "deny"
    recorded: Recorded | None = None
    verdict: Verdict | None = None
    old: tuple[Side, ...] = ()
    new: tuple[Side, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A compiled bundle with what is asked about it for every decision."""

    compiled: CompiledBundle
    content: tuple[str, ...]
    # Its paths as a key of verdicts; empty if there can be none.
    plain: tuple[InputPath, ...]
    modules: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Side:
    """A bundle that judges, as the log names it, compiled; `changed` if it is the candidate's and differs."""

    judge: RecordedBundle
    known: Known
    changed: bool = False


class Impact:
    """Judges recorded decisions by a candidate's bundles. Bundles and verdicts are kept for the next decisions."""

    def __init__(
        self, bundles: Path, candidate: Mapping[str, tuple[CompiledBundle, Mapping[str, bytes]]], commit: str = ""
    ) -> None:
        self._bundles = bundles
        self._candidate = {name: _known(*each) for name, each in candidate.items()}
        self._commit = commit
        self._published: dict[str, Known] = {}
        self._verdicts: dict[tuple[object, ...], Verdict] = {}
        self._looked_up = self._found = 0

    def on(self, entry: Mapping[str, Any], document: Mapping[str, Any] | None) -> Effects:
        """The effect on the decision of a `decided` entry; `document` is its input as far as it is kept."""
        if entry.get("dry_run"):
            return Effects("unasked", "dry run")
        judges = reexecution.judges(entry)
        if not judges or reexecution.outside_scope(entry) is not None:
            return Effects("unasked", f"refused before policies: {entry.get('reason')}")
        try:
            followed = [self._followed(each, entry) for each in judges]
            if all(each is None for each in followed):
                return Effects("same")
            if not reexecution.is_input(document):
                return Effects("untold", reexecution.NOT_KEPT)
            assert document is not None
            new = tuple(
                Side(judge, self._of(judge)) if each is None else Side(_renamed(judge, each, self._commit), each, True)
                for judge, each in zip(judges, followed, strict=True)
            )
            return self._compared(entry, document, new, judges)
        except GatewayError as error:
            return Effects("untold", error.message)
        except (KeyError, TypeError, AttributeError):  # of another version, or a log that was tampered with
            return Effects("untold", "what is kept of the call is no input document")

    def _compared(
        self,
        entry: Mapping[str, Any],
        document: Mapping[str, Any],
        new: tuple[Side, ...],
        judges: Sequence[RecordedBundle],
    ) -> Effects:
        before = reexecution.recorded(entry)
        unsure = {number: why for number, each in enumerate(new) if (why := self._unsure(each, entry, document))}
        if unsure:
            sure = [each for number, each in enumerate(new) if number not in unsure]
            verdict = self._verdict(sure, entry, document) if sure else None
            if verdict is None or _outcome(verdict.code) != "deny":
                return Effects("untold", next(iter(unsure.values())))
            # A bundle that has all it reads denies, whatever the others say.
        else:
            verdict = self._verdict(new, entry, document)
            if not reexecution.is_changed(entry) and reexecution.same(before, verdict, changed=False):
                return Effects("same")
        old = tuple(Side(each, self._of(each)) for each in judges)
        return self._against(entry, document, before, verdict, old, new)

    def _against(
        self,
        entry: Mapping[str, Any],
        document: Mapping[str, Any],
        before: Recorded,
        verdict: Verdict,
        old: tuple[Side, ...],
        new: tuple[Side, ...],
    ) -> Effects:
        """The effect where the verdict is not the recorded one: is it the candidate's?"""
        then = self._verdict(old, entry, document, edited=True)
        now, was = _outcome(verdict.code), _recorded_outcome(before)
        unkept = [path for each in old for path in _unkept(each.known, document)]
        if reexecution.same(before, then, changed=reexecution.is_changed(entry)) or (unkept and now == "deny"):
            if now != was:
                return Effects("flip", "", was, now, before, verdict, old, new)
            differs = _difference(then, verdict)
            return Effects("otherwise", differs, was, now, before, verdict, old, new) if differs else Effects("same")
        if was == now == "deny" or not _difference(then, verdict):
            return Effects("same")
        problem = reexecution.not_comparable(before, entry, unkept, then)
        return Effects("untold", problem or f"the policies of then say {then.code}, and {before.code} is recorded")

    # Bundles

    def _followed(self, judge: RecordedBundle, entry: Mapping[str, Any]) -> Known | None:
        """The candidate's bundle in the place of this one; None if nothing would change."""
        commit = entry.get("policy_commit")
        if isinstance(commit, str) and commit != judge.commit:
            return None  # the binding is pinned to that commit
        known = self._candidate.get(judge.name)
        if known is None:
            raise GatewayError("bundle_missing", f"the candidate has no bundle `{judge.name}`", subject=judge.name)
        return None if known.compiled.digest == judge.digest else known

    def _of(self, judge: RecordedBundle) -> Known:
        """The bundle as it judged. Raises `GatewayError` if it is not there any more."""
        found = self._published.get(judge.digest)
        if found is None:
            candidate = self._candidate.get(judge.name)
            if candidate is not None and candidate.compiled.digest == judge.digest:
                found = candidate
            else:
                found = _known(*reexecution.compiled_of(self._bundles, judge))
            self._published[judge.digest] = found
        return found

    def _unsure(self, side: Side, entry: Mapping[str, Any], document: Mapping[str, Any]) -> str:
        """The reason why a bundle's verdict cannot be told from what is kept of the input; empty if it can."""
        known = side.known
        if side.changed and (why := _missing(known.compiled.input_paths, entry, document)):
            return why
        if unkept := _unkept(known, document):
            verdict = self._asked(side, entry, document)
            if verdict.code == "policy_denied" and verdict.reasons and not known.compiled.denies_by_content:
                return ""
            return f"content is not kept, and policies read it: {', '.join(unkept)}"
        return ""

    # Verdicts

    def _verdict(
        self, sides: Iterable[Side], entry: Mapping[str, Any], document: Mapping[str, Any], *, edited: bool = False
    ) -> Verdict:
        """All verdicts as one. If the call is not `edited` yet, it is changed as they demand, and judged once more."""
        sides = list(sides)
        verdict = self._combined(sides, entry, document)
        obliged = verdict.obligations
        if edited or verdict.code != ALLOWED or not authorization.unmet(obliged, document):
            return reexecution.enforced(verdict, entry, document) if edited else verdict
        changed = _obliged(document, obliged)
        if authorization.unmet(obliged, changed):
            return Verdict("policy_unsupported")
        again = self._combined(sides, entry, changed)
        if again.code != ALLOWED:
            return again
        try:
            both = together([obliged, again.obligations])
        except Conflict:
            return authorization.CHANGED_TWICE
        if authorization.unmet(again.obligations, changed):
            return authorization.CHANGED_TWICE
        return replace(again, obligations=both)

    def _combined(self, sides: Sequence[Side], entry: Mapping[str, Any], document: Mapping[str, Any]) -> Verdict:
        answers = [(each.judge.effect, self._asked(each, entry, document)) for each in sides]
        return reexecution.judged(answers, entry, document)

    def _asked(self, side: Side, entry: Mapping[str, Any], document: Mapping[str, Any]) -> Verdict:
        compiled = side.known.compiled
        seed = reexecution.seed_in(entry.get("seed"))
        if not side.known.plain or (self._looked_up > _TRIED and self._found * 2 < self._looked_up):
            drawn = reexecution.document_in(entry, "nondeterministic_json", {}).get(side.judge.digest)
            # Chance that nobody recorded is the same in every run, so that a report can be made again.
            return reexecution.verdict_of(compiled, side.judge, document, drawn, 0 if seed is None else seed)
        read = key(side, document)
        self._looked_up += 1
        found = self._verdicts.get(read)
        if found is not None:
            self._found += 1
            return found
        found = reexecution.verdict_of(compiled, side.judge, document, None, 0)
        if len(self._verdicts) >= _MOST_KEPT:
            self._verdicts.clear()
        self._verdicts[read] = found
        return found


def key(side: Side, document: Mapping[str, Any]) -> tuple[object, ...]:
    """All that the verdict of a bundle depends on; not for one that `plain` says has no key."""
    values = [_at(document, path) for path in side.known.plain]
    judge = side.judge
    several = len(document["resource"]["models"]) > 1
    return judge.digest, judge.name, judge.effect, several, orjson.dumps(values, option=orjson.OPT_SORT_KEYS)


def _known(compiled: CompiledBundle, files: Mapping[str, bytes]) -> Known:
    paths = compiled.input_paths
    moving = compiled.nondeterministic or () in paths or _touches(paths, ("time", "now_ns"))
    modules = reexecution.modules_of(files)
    return Known(compiled, content_paths(paths), () if moving else paths or (("action",),), modules)


def _renamed(judge: RecordedBundle, known: Known, commit: str) -> RecordedBundle:
    return RecordedBundle(judge.name, known.compiled.digest, commit, judge.effect)


_ABSENT: Final = "\0absent"


def _at(document: Any, path: InputPath) -> Any:
    for name in path:
        if document.__class__ is not dict or name not in document:
            return _ABSENT if document.__class__ is dict else document
        document = document[name]
    return document


def _unkept(known: Known, document: Mapping[str, Any]) -> tuple[str, ...]:
    if not known.content or "body" in document["request"]:
        return ()
    return content_of(known.content, document)


def _missing(paths: Sequence[InputPath], entry: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """The reason why a bundle that did not judge then lacks something of the input, though it is no content."""
    left_out = reexecution.document_in(entry, "left_out_json", {})
    if lacking := [each for each in left_out if _touches(paths, tuple(each.split(".")))]:
        return f"the input was too long to be kept whole: members of {', '.join(sorted(lacking))} were left out"
    unkept = reexecution.document_in(entry, "unkept_json", [])
    if "resource.params" in unkept and _touches(paths, ("resource", "params")):
        return "settings of the call are not kept, and policies read them: resource.params"
    if document.get("usage") == {} and document.get("direction") != "receive" and _touches(paths, ("usage",)):
        return "usage was not recorded, because no policy read it then: input.usage"
    if reexecution.is_changed(entry):
        for name in _edits(entry):
            for path in _EDITED.get(name, ()):
                if _touches(paths, path):
                    return (
                        f"the call is kept as policies had it changed, and policies read that: input.{'.'.join(path)}"
                    )
    return ""


def _edits(entry: Mapping[str, Any]) -> Iterator[str]:
    """The names of the changes that policies demanded; others were made before they were asked."""
    obliged = reexecution.recorded(entry).obligations.document()
    for name in reexecution.document_in(entry, "edits_json", []):
        if name in obliged or entry.get("allow") is not True:
            yield str(name)


def _touches(paths: Iterable[InputPath], path: InputPath) -> bool:
    """True if one of the paths is, contains or lies in another one."""
    return any(each[: len(path)] == path[: len(each)] for each in paths)


def _obliged(document: Mapping[str, Any], obligations: Obligations) -> dict[str, Any]:
    """The input document of the call as the gateway changes it."""
    changed = dict(document) if obligations.model is None else with_model(document, obligations.model)
    request = dict(document["request"])
    cap, asked = obligations.max_output_tokens, request["max_output_tokens"]
    if cap is not None and (asked is None or asked > cap):
        request["max_output_tokens"] = cap
    if obligations.strip_tools:
        request["tools"] = [
            each for each in request["tools"] if (each["name"] or each["type"]) not in obligations.strip_tools
        ]
    if obligations.model is not None:
        changed["resource"] = {**changed["resource"], "models": [obligations.model]}
    return {**changed, "request": request}


def _outcome(code: str) -> Outcome:
    return "allow" if code == ALLOWED else "approval" if code == APPROVAL else "deny"


def _recorded_outcome(before: Recorded) -> Outcome:
    return "allow" if before.allow else "approval" if before.code == APPROVAL else "deny"


def _difference(then: Verdict, now: Verdict) -> str:
    """What differs between two verdicts; empty if they are the same."""
    if then.code != now.code:
        return "another reason code"
    for name in ("limits", "obligations", "approvals", "over_limit", "reasons"):
        if getattr(then, name) != getattr(now, name):
            return f"other {name.replace('_', ' ')}"
    return ""
