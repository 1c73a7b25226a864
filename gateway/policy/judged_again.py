"""A decision with all that the log keeps of it, judged again, as the control API and commands show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.policy.reexecution import ExplainedVerdict, Failed, Reexecution, RuleOutcome

MAX_SOURCES: Final = 512 * 1024
"""Characters of modules that are shown with one bundle's explanation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAgain:
    """What bundles say of a decision when they are asked again, each as a document (`bundle_document`).

    `verdict` is what they say together; None if they could not be asked, and then `problem` says why. `agrees` says
    whether that is what was recorded; None if it cannot be expected.
    """

    bundles: list[dict[str, Any]]
    verdict: dict[str, Any] | None
    agrees: bool | None
    problem: str


def judged_again(again: Reexecution, *, explained: bool = False, sources: bool = False) -> JudgedAgain:
    """With `sources`, what is explained stands beside the lines that it is about."""
    verdict = again.verdict
    return JudgedAgain(
        bundles=[
            explained_document(each) | ({"sources": _sources(each)} if sources else {})
            if explained
            else bundle_document(each)
            for each in again.answers
        ],
        verdict=None
        if verdict is None
        else {"allow": verdict.code == "allowed", "reason": verdict.code, "reasons": list(verdict.reasons)},
        agrees=again.agrees,
        problem=again.problem,
    )


def bundle_document(answer: ExplainedVerdict) -> dict[str, Any]:
    """The verdict of one bundle."""
    judge, verdict = answer.judge, answer.verdict
    return {
        "bundle": judge.name,
        "effect": judge.effect,
        "commit": judge.commit,
        "digest": judge.digest,
        "allow": verdict.code == "allowed",
        "reason": verdict.code,
        "reasons": list(verdict.reasons),
        "obligations": verdict.obligations.document(),
        "detail": verdict.detail or None,
        "unkept": list(answer.unkept),
        "similar_model": answer.similar_model or None,
    }


def explained_document(answer: ExplainedVerdict) -> dict[str, Any]:
    """The verdict of one bundle with its rules: those that held and those that did not, by place."""
    error = answer.explanation.error
    return {
        **bundle_document(answer),
        "entrypoint": answer.entrypoint,
        "error": None if error is None else f"{answer.judge.name}/{error}",
        "rules": [_rule_document(answer.judge.name, each) for each in answer.rules],
    }


def _sources(answer: ExplainedVerdict) -> dict[str, str]:
    """The modules that its rules are in, by their places in the repository; those that are too long are left out."""
    left, found = MAX_SOURCES, {}
    for file in dict.fromkeys(each.location.file for each in answer.rules if each.tried):
        text = answer.sources.get(file, "")
        if 0 < len(text) <= left:
            left -= len(text)
            found[f"{answer.judge.name}/{file}"] = text
    return found


def _rule_document(bundle: str, rule: RuleOutcome) -> dict[str, Any]:
    """A rule; its `file` is a place in the policies repository, where a bundle is a directory."""
    return {
        "rule": rule.path,
        "kind": rule.kind,
        "file": f"{bundle}/{rule.location.file}",
        "line": rule.location.row,
        "default": rule.default,
        "tried": rule.tried,
        "held": rule.held,
        "values": list(rule.values),
        "failed": None if rule.failed is None else _failed_document(rule.failed),
    }


def _failed_document(failed: Failed) -> Mapping[str, Any]:
    """An expression that failed. A value that is undefined has no `value`."""
    from gateway.policy.reexecution import value_text

    return {
        "line": failed.location.row,
        "expression": failed.text,
        "times": failed.times,
        "values": [
            {"term": name} | ({} if value_text(value) is None else {"value": value}) for name, value in failed.values
        ],
    }
