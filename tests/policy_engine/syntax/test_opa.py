"""Against OPA itself: its conformance suite, its verdicts on hand-made probes, and on mutated modules."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.syntax.parser import parse_module, parse_query, parse_term
from policy_engine.syntax.printer import body_text, to_text
from tests.policy_engine.syntax.mutations import mutate, sources, tokens_of
from tests.policy_engine.syntax.verdicts import opa_verdicts


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.joinpath("opa-v1").glob("*.json")):
        yield from json.loads(path.read_bytes())["cases"]


def test_the_conformance_suite_parses_and_survives_printing(conformance_dir: Path) -> None:
    modules, queries, terms = set(), set(), set()
    for case in cases(conformance_dir):
        modules.update(case.get("modules") or ())
        queries.add(case["query"])
        terms.add(case.get("input_term") or "null")
    assert len(modules) > 1000
    for source in modules:
        module = parse_module(source)
        assert parse_module(to_text(module)) == module, to_text(module)
    for source in queries:
        query = parse_query(source)
        assert parse_query(body_text(query)) == query, body_text(query)
    for source in terms:
        term = parse_term(source)
        assert parse_term(to_text(term)) == term, to_text(term)


def verdict(source: str) -> str:
    """The parse error, or "": what only the compiler refuses parses."""
    try:
        parse_module(source, "t.rego")
    except PolicyError as error:
        return f"{error} (column {error.location.col})" if error.code == PARSE_ERROR and error.location else ""
    return ""


def test_probes(conformance_dir: Path) -> None:
    probes = json.loads(conformance_dir.joinpath("syntax-probes.json").read_bytes())["probes"]
    assert len(probes) > 150
    differ = []
    for probe in probes:
        ours = verdict(f"package t\n{probe['module_body']}")
        if bool(ours) != (probe["opa"] == "parse"):
            differ.append(f"{probe['note']}: {probe['module_body']!r}: OPA {probe['opa']}, here {ours or 'parses'}")
    assert not differ, "\n".join(differ)


@pytest.mark.parametrize("imports", ["", "import future.keywords\n"])
def test_mutated_modules(imports: str) -> None:
    """Both agree on all but a few texts that OPA makes rules of although nobody means them.

    A rule without `if` is an expression to OPA, and any call in it a head: `x == y := z` defines a function `equal`.
    """
    generator = random.Random(20)
    # OPA 1.20 does not know `rego.v2` and `rego.v3`.
    originals = [tokens_of(source) for source in sources() if not re.search(r"rego\.v[23]", source)]
    texts = []
    for _ in range(1_500):
        text = mutate(generator, generator.choice(originals), generator.choice(originals))
        texts.append(text.replace("package t\n", f"package t\n{imports}", 1))
    differ = []
    for text, opa in zip(texts, opa_verdicts(texts), strict=True):
        ours = verdict(text)
        if bool(opa) != bool(ours) and "conflicts with built-in function" not in opa:
            differ.append(f"{text!r}\n  OPA  {opa or 'parses'}\n  here {ours or 'parses'}")
    assert len(differ) <= 3, "\n".join(differ)
