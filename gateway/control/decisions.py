"""A decision with all that the log keeps of it, judged again, as the control API and commands show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.policy.reexecution import Answer, Reexecution


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


def judged_again(again: Reexecution) -> JudgedAgain:
    verdict = again.verdict
    return JudgedAgain(
        bundles=[bundle_document(each) for each in again.answers],
        verdict=None
        if verdict is None
        else {"allow": verdict.code == "allowed", "reason": verdict.code, "reasons": list(verdict.reasons)},
        agrees=again.agrees,
        problem=again.problem,
    )


def bundle_document(answer: Answer) -> dict[str, Any]:
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
