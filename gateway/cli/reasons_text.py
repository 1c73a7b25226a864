"""Why bundles answered as they did, as text: which rules held, and which expression failed in the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from gateway.cli import output
from gateway.control.decisions import bundle_document

if TYPE_CHECKING:
    from gateway.policy.reexecution import Answer, Failed, RuleOutcome

_MAX_VALUE: Final = 240


def verdict_line(bundle: Mapping[str, Any]) -> str:
    """A bundle and its verdict (`control/decisions.py`)."""
    text = "allowed" if bundle["allow"] else f"denied {bundle['reason']}"
    return f"{bundle['bundle']} ({bundle['effect']}, commit {bundle['commit'][:12]}): {text}"


def print_hint(bundle: Mapping[str, Any], depth: int) -> None:
    """Name the model that the call may have meant."""
    if bundle["similar_model"]:
        _line(depth, f"hint: did you mean the model `{bundle['similar_model']}`? this bundle would allow it")


def print_answers(answers: Iterable[Answer]) -> None:
    """Each bundle with the rules that held and those that did not."""
    for answer in answers:
        typer.echo()
        bundle = bundle_document(answer)
        colour = "green" if bundle["allow"] else "red"
        typer.echo(typer.style(output.printable(verdict_line(bundle)), fg=colour, bold=True))
        _print_answer(answer, bundle)


def _print_answer(answer: Answer, bundle: Mapping[str, Any]) -> None:
    if answer.verdict.detail:
        _line(1, answer.verdict.detail)
    print_hint(bundle, 1)
    if answer.unkept:
        _line(
            1, f"content is not kept: this was evaluated without {', '.join(answer.unkept)}, which the bundle can read"
        )
    explanation = answer.explanation
    if explanation.error is not None:
        _line(1, f"its evaluation ended in an error: {_place(answer, str(explanation.error))}")
    rules = _in_order(answer, answer.rules)
    for title, chosen in (
        ("rules that held", [rule for rule in rules if rule.held]),
        ("rules that did not hold", [rule for rule in rules if rule.tried and not rule.held]),
        ("rules that were not needed", [rule for rule in rules if not rule.tried]),
    ):
        if chosen:
            _line(1, f"{title}:")
        where = [_where(answer, rule) for rule in chosen]
        width = max(map(len, where), default=0)
        for rule, place in zip(chosen, where, strict=True):
            _line(2, f"{place.ljust(width)}  {_head(answer, rule)}")
            if rule.failed is not None:
                _print_failed(rule.failed, rule)


def _print_failed(failed: Failed, rule: RuleOutcome) -> None:
    times = f"  ({failed.times} times)" if failed.times > 1 else ""
    row = f"line {failed.location.row}: " if failed.location.row != rule.location.row else ""
    _line(3, f"failed at {row}{failed.text}{times}")
    for name, value in failed.values:
        _line(4, f"{name} {_is(value)}")


def _is(value: Any) -> str:
    text = _shown(value)
    return "is undefined" if text is None else f"= {text}"


def _shown(value: Any) -> str | None:
    from gateway.policy.reexecution import value_text

    text = value_text(value)
    if text is None:
        return None
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}… ({len(text):,} characters)"


def _head(answer: Answer, rule: RuleOutcome) -> str:
    """A rule by its name in the package, with what it gave."""
    name = rule.path.removeprefix(f"{answer.entrypoint}.")
    default = "default " if rule.default else ""
    if rule.kind == "set":
        members = ", ".join(str(_shown(each)) for each in rule.values)
        return f"{name} contains {members}" if members else name
    if rule.kind == "function":
        return f"{name}(…)" + (f", for {rule.held} of {rule.tried} calls" if rule.held else "")
    if rule.kind == "complete" and len(rule.values) == 1:
        return f"{default}{name} := {_shown(rule.values[0])}"
    return f"{default}{name}"


def _in_order(answer: Answer, rules: Sequence[RuleOutcome]) -> list[RuleOutcome]:
    """The members of the decision first, `allow` before all others, then what they are made of."""

    def rank(rule: RuleOutcome) -> tuple[bool, bool, Any]:
        name = rule.path.removeprefix(f"{answer.entrypoint}.")
        private = name == rule.path or name.startswith("_") or rule.kind == "function"
        return private, name != "allow", rule.location

    return sorted(rules, key=rank)


def _where(answer: Answer, rule: RuleOutcome) -> str:
    """A place in the policies repository, where a bundle is a directory."""
    return f"{answer.judge.name}/{rule.location.file}:{rule.location.row}"


def _place(answer: Answer, error: str) -> str:
    return f"{answer.judge.name}/{error}"


def _line(depth: int, text: str) -> None:
    typer.echo("  " * depth + output.printable(text))
