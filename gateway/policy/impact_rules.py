"""The rules that made the difference between two verdicts on a call: those that deny now, or did and do not any more.

A rule is told by its place. Explaining an evaluation takes longer than the evaluation, so it is done once for all calls
that are alike in what a bundle reads. After so many explanations, a call with the same reasons gets the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.policy import reexecution
from gateway.policy.impact import Effects, Side, key

_MOST: Final = 1_000  # explanations


@dataclass(frozen=True, slots=True)
class DecidingRule:
    """A rule with its place in the policies, and whether it is of the candidate. `holds` is false for an `allow` that
    no call like this meets.
    """

    file: str
    line: int
    rule: str
    candidate: bool
    holds: bool

    def __str__(self) -> str:
        name = self.rule.rpartition(".")[2]
        return f"{self.file}:{self.line} {name}" + ("" if self.holds else " does not hold")


class DecidingRules:
    """Finds them for one decision after the other."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[DecidingRule, ...]] = {}

    def of(self, effects: Effects, entry: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[DecidingRule, ...]:
        """The rules behind a flip; none if that cannot be told."""
        assert effects.recorded is not None
        assert effects.verdict is not None
        if effects.after == "allow":
            # It was refused for reasons that are gone. Without reasons it was not allowed, and now is.
            member = "require_approval" if effects.before == "approval" else "deny"
            found = self._held(effects.old, member, effects.recorded.reasons, entry, document, candidate=False)
            return found or self._held(effects.new, "allow", (), entry, document, candidate=True)
        reasons = effects.verdict.reasons
        member = "require_approval" if effects.after == "approval" else "deny"
        found = self._held(effects.new, member, reasons, entry, document, candidate=True)
        return found or self._held(effects.new, "allow", (), entry, document, candidate=True, holds=False)

    def _held(
        self,
        sides: tuple[Side, ...],
        member: str,
        reasons: tuple[str, ...],
        entry: Mapping[str, Any],
        document: Mapping[str, Any],
        *,
        candidate: bool,
        holds: bool = True,
    ) -> tuple[DecidingRule, ...]:
        digests = tuple((each.judge.name, each.judge.digest) for each in sides)
        alike = digests, member, holds, reasons
        read = None if any(not each.known.plain for each in sides) else tuple(key(each, document) for each in sides)
        exact = (*alike, read)
        if exact not in self._kept:
            if len(self._kept) >= _MOST:
                return self._kept.get(alike, ())
            self._kept[exact] = self._kept[alike] = tuple(
                rule for side in sides for rule in _rules(side, member, entry, document, candidate, holds)
            )
        return self._kept[exact]


def _rules(
    side: Side, member: str, entry: Mapping[str, Any], document: Mapping[str, Any], candidate: bool, holds: bool
) -> Iterator[DecidingRule]:
    if member == "allow" and side.judge.effect == "guard":
        return
    drawn = reexecution.document_in(entry, "nondeterministic_json", {}).get(side.judge.digest)
    seed = reexecution.seed_in(entry.get("seed")) or 0
    moment = reexecution.moment(document, drawn, seed)
    compiled = side.known.compiled
    explanation = compiled.explain(document, limits=reexecution.EXPLAINING, **moment)
    wanted = f"{compiled.entrypoint}.{member}"
    rules = [each for each in explanation.rules(side.known.modules) if each.path == wanted and not each.default]
    if not holds and any(each.held for each in rules):
        return  # this bundle allows it
    for each in rules:
        if bool(each.held) is holds:
            yield DecidingRule(
                f"{side.judge.name}/{each.location.file}", each.location.row, each.path, candidate, holds
            )
