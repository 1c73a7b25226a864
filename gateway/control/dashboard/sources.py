"""An explanation beside the source that it is about: the lines of policies, and what was said about some of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Mark = Literal["", "tried", "held", "failed", "waits", "allowed", "denied"]
"""What became of a line; the later ones count more. The last three are those of rules that decide."""

_WHOLE: Final = 80
"""A file with at most so many lines is shown whole."""
_AROUND: Final = 4
_SAID: Final = 300
_LONGEST: Final = 2000
_STRONGER: Final[tuple[Mark, ...]] = get_args(Mark)
_DECIDING: Final[Mapping[str, Mark]] = {"allow": "allowed", "deny": "denied", "require_approval": "waits"}
LABELS: Final[Mapping[Mark, str]] = {
    "tried": "did not hold",
    "held": "✓ held",
    "failed": "✗ failed here",
    "waits": "✓ asks for approval",
    "allowed": "✓ allowed here",
    "denied": "✗ denied here",
}


@dataclass(kw_only=True)
class SourceLine:
    """A line: `mark` says what became of it, `said` what there is to know about it."""

    number: int
    text: str
    anchor: str
    mark: Mark = ""
    said: list[str] = field(default_factory=list)

    def add(self, mark: Mark, said: Iterable[str] = ()) -> None:
        self.mark = max(self.mark, mark, key=_STRONGER.index)
        self.said += said


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file, or the parts of it that matter: between two parts lines are left out."""

    name: str
    parts: Sequence[Sequence[SourceLine]]


@dataclass(frozen=True, kw_only=True)
class ExplainedBundle:
    """A bundle with its verdict, its rules in a tree, and the files that they are in."""

    answer: Mapping[str, Any]
    rules: Sequence[Mapping[str, Any]]
    files: Sequence[SourceFile]


def explained(bundles: Sequence[Mapping[str, Any]]) -> list[ExplainedBundle]:
    """The bundles of an answer with `explain` and `sources`, each with its rules beside its lines."""
    return [_explained(f"b{number}", each) for number, each in enumerate(bundles, 1)]


def _explained(place: str, answer: Mapping[str, Any]) -> ExplainedBundle:
    sources: Mapping[str, str] = answer.get("sources", {})
    files = {name: lines(text, f"{place}-{number}") for number, (name, text) in enumerate(sources.items(), 1)}
    rules = []
    for rule in answer.get("rules", []):
        if not rule["tried"]:
            continue
        there, failed, mark = files.get(rule["file"], {}), rule["failed"], _mark(rule, answer["entrypoint"])
        if (line := there.get(rule["line"])) is not None:
            line.add(mark, _given(rule))
        if failed is not None and (end := there.get(failed["line"])) is not None:
            end.add("failed", [_value(each) for each in failed["values"]])
        anchor = there[rule["line"]].anchor if rule["line"] in there else ""
        ended = there[failed["line"]].anchor if failed is not None and failed["line"] in there else ""
        rules.append({**rule, "anchor": anchor, "ended": ended, "mark": mark})
    shown = [SourceFile(name=name, parts=_parts(list(found.values()))) for name, found in files.items()]
    return ExplainedBundle(answer=answer, rules=rules, files=shown)


def _mark(rule: Mapping[str, Any], entrypoint: str) -> Mark:
    """What a rule says of the decision, if it is a member of it, or only that it held."""
    if not rule["held"]:
        return "tried"
    name = rule["rule"].removeprefix(f"{entrypoint}.")
    return "held" if name == "allow" and True not in rule["values"] else _DECIDING.get(name, "held")


def lines(text: str, place: str, first: int = 1) -> dict[int, SourceLine]:
    """The lines of a text by their numbers. `place` makes their anchors unlike those of other texts of the page."""
    listed = text.split("\n")
    if listed and listed[-1] == "":
        listed.pop()
    return {
        number: SourceLine(number=number, text=_cut(each, _LONGEST), anchor=f"{place}-{number}")
        for number, each in enumerate(listed, first)
    }


def _parts(found: list[SourceLine]) -> list[list[SourceLine]]:
    """The whole file, or the lines around those that are marked."""
    if len(found) <= _WHOLE:
        return [found] if found else []
    parts: list[list[SourceLine]] = []
    near = {number for each in found if each.mark for number in range(each.number - _AROUND, each.number + _AROUND + 1)}
    for each in found:
        if each.number not in near:
            continue
        if parts and parts[-1][-1].number == each.number - 1:
            parts[-1].append(each)
        else:
            parts.append([each])
    return parts


def _given(rule: Mapping[str, Any]) -> list[str]:
    """The value or members that a rule gave."""
    if rule["kind"] == "set" and rule["values"]:
        return [f"gave {_cut(', '.join(map(_text, rule['values'])))}"]
    return [f"gave {_text(rule['values'][0])}"] if rule["kind"] == "complete" and len(rule["values"]) == 1 else []


def _value(each: Mapping[str, Any]) -> str:
    return f"{_cut(each['term'])} = {_text(each['value'])}" if "value" in each else f"{_cut(each['term'])} is undefined"


def _text(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str, most: int = _SAID) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
