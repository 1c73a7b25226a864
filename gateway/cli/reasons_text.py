"""Why bundles answered as they did, as text: which rules held, and which expression failed in the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import typer

from gateway.cli import output

_MAX_VALUE: Final = 240


def verdict_line(bundle: Mapping[str, Any]) -> str:
    """A bundle and its verdict (`policy/judged_again.py`)."""
    text = "allowed" if bundle["allow"] else f"denied {bundle['reason']}"
    return f"{bundle['bundle']} ({bundle['effect']}, commit {bundle['commit'][:12]}): {text}"


def print_hint(bundle: Mapping[str, Any], depth: int) -> None:
    """Name the model that the call may have meant."""
    if bundle["similar_model"]:
        _line(depth, f"hint: did you mean the model `{bundle['similar_model']}`? this bundle would allow it")


def print_answers(bundles: Iterable[Mapping[str, Any]]) -> None:
    """Each bundle with the rules that held and those that did not (`explained_document`)."""
    for bundle in bundles:
        typer.echo()
        colour = "green" if bundle["allow"] else "red"
        typer.echo(typer.style(output.printable(verdict_line(bundle)), fg=colour, bold=True))
        _print_answer(bundle)


def _print_answer(bundle: Mapping[str, Any]) -> None:
    if bundle["detail"]:
        _line(1, bundle["detail"])
    print_hint(bundle, 1)
    if bundle["unkept"]:
        _line(
            1,
            f"content is not kept: this was evaluated without {', '.join(bundle['unkept'])}, which the bundle can read",
        )
    if bundle["error"] is not None:
        _line(1, f"its evaluation ended in an error: {bundle['error']}")
    rules = _in_order(bundle)
    for title, chosen in (
        ("rules that held", [rule for rule in rules if rule["held"]]),
        ("rules that did not hold", [rule for rule in rules if rule["tried"] and not rule["held"]]),
        ("rules that were not needed", [rule for rule in rules if not rule["tried"]]),
    ):
        if chosen:
            _line(1, f"{title}:")
        where = [f"{rule['file']}:{rule['line']}" for rule in chosen]
        width = max(map(len, where), default=0)
        for rule, place in zip(chosen, where, strict=True):
            _line(2, f"{place.ljust(width)}  {_head(bundle, rule)}")
            if rule["failed"] is not None:
                _print_failed(rule["failed"], rule)


def _print_failed(failed: Mapping[str, Any], rule: Mapping[str, Any]) -> None:
    times = f"  ({failed['times']} times)" if failed["times"] > 1 else ""
    row = f"line {failed['line']}: " if failed["line"] != rule["line"] else ""
    _line(3, f"failed at {row}{failed['expression']}{times}")
    for each in failed["values"]:
        found = f"= {_shown(each['value'])}" if "value" in each else "is undefined"
        _line(4, f"{each['term']} {found}")


def _shown(value: Any) -> str:
    from gateway.policy.reexecution import value_text

    text = str(value_text(_plain(value)))
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}… ({len(text):,} characters)"


def _plain(value: Any) -> Any:
    """A value with objects of the class that policies have. An answer from elsewhere has them of another one."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _head(bundle: Mapping[str, Any], rule: Mapping[str, Any]) -> str:
    """A rule by its name in the package, with what it gave."""
    name = rule["rule"].removeprefix(f"{bundle['entrypoint']}.")
    default = "default " if rule["default"] else ""
    if rule["kind"] == "set":
        members = ", ".join(_shown(each) for each in rule["values"])
        return f"{name} contains {members}" if members else name
    if rule["kind"] == "function":
        return f"{name}(…)" + (f", for {rule['held']} of {rule['tried']} calls" if rule["held"] else "")
    if rule["kind"] == "complete" and len(rule["values"]) == 1:
        return f"{default}{name} := {_shown(rule['values'][0])}"
    return f"{default}{name}"


def _in_order(bundle: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The members of the decision first, `allow` before all others, then what they are made of; each by place."""

    def rank(rule: Mapping[str, Any]) -> tuple[bool, bool]:
        name = rule["rule"].removeprefix(f"{bundle['entrypoint']}.")
        private = name == rule["rule"] or name.startswith("_") or rule["kind"] == "function"
        return private, name != "allow"

    return sorted(bundle["rules"], key=rank)


def _line(depth: int, text: str) -> None:
    typer.echo("  " * depth + output.printable(text))
