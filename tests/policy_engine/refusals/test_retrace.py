"""Errors of mutated modules stand where OPA's stand: all of them, to the column."""

from __future__ import annotations

import random
import re

import pytest

import policy_engine as pe
from policy_engine.syntax.parser import parse_module
from tests.policy_engine.syntax.mutations import mutate, sources, tokens_of
from tests.policy_engine.syntax.verdicts import opa_verdicts

PLACE = re.compile(r"^(?:\d+ errors? occurred: )?(\d+:\d+): rego_parse_error: ", re.MULTILINE)


def places(source: str) -> list[str]:
    try:
        parse_module(source)
    except pe.PolicyError as error:
        return [f"{one.location.row}:{one.location.col}" for one in error.errors if one.location]
    return []


@pytest.mark.parametrize("imports", ["", "import future.keywords\n"])
def test_mutated_modules(imports: str) -> None:
    """Between texts with up to three mistakes there are a few whose reading nobody would guess."""
    generator = random.Random(30)
    originals = [tokens_of(source) for source in sources()]
    texts = []
    for _ in range(750):
        text = mutate(generator, generator.choice(originals), generator.choice(originals))
        texts.append(text.replace("package t\n", f"package t\n{imports}", 1))
    differ, wrong = [], 0
    for text, answer in zip(texts, opa_verdicts(texts, file=""), strict=True):
        opa, ours = PLACE.findall(answer), places(text)
        wrong += bool(opa)
        if opa and ours and opa != ours:
            differ.append(f"{text!r}\n  OPA  {answer}\n  here {ours}")
    assert wrong > 300
    assert len(differ) <= wrong // 100, "\n".join(differ)


@pytest.mark.parametrize("open_", ["[", "{x | ", "{{1: ", "(", "not {", "{ a := ", "every x in [", '$"{', "[{x: y | "])
def test_what_nests_too_deep_keeps_the_place_of_the_automaton(open_: str) -> None:
    with pytest.raises(pe.PolicyError) as caught:
        parse_module(f"package t\nimport future.keywords\np if {open_ * 60}")
    assert caught.value.location
    assert caught.value.location.row == 3


@pytest.mark.parametrize("part", ["1 + ", "x.", "[1, ", "- ", "x | ", "p if x else ", '"\\'])
def test_a_long_text_is_refused_as_well(part: str) -> None:
    with pytest.raises(pe.PolicyError):
        parse_module("package t\np := " + part * 40_000)
