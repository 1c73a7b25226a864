"""`policy eval --explain`: the expressions that were evaluated, with what they saw."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from policy_engine.codegen.steps import Step
from policy_engine.testing.failures import failure_of


class ExplanationMode(enum.StrEnum):
    OFF = "off"
    FAILS = "fails"
    FULL = "full"


Wanted = Annotated[
    ExplanationMode,
    typer.Option(
        "--explain",
        help="Also show the expressions that failed (fails), or all that were evaluated (full), with their values.",
    ),
]


def lines(steps: Sequence[Step], wanted: ExplanationMode, sources: Mapping[str, str]) -> Iterator[str]:
    """A line for each step, indented as deep as its rule was asked for.

    The expressions inside of others, as in `every`, belong to the full explanation only.
    """
    for step in steps:
        if wanted is ExplanationMode.FULL or (not step.succeeded and step.place.level == 1):
            failure = failure_of(step, steps, sources, reasons=False)
            what = f"`{failure.text}` holds" if step.succeeded else failure.message
            where = failure.location if failure.location.file else f"query:{failure.location.row}"
            yield f"{'  ' * step.depth}{where}: {'; '.join([what, *failure.values])}"
