"""Texts of terms, types and lists of names, for the messages of `impossible.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from policy_engine import domains
from policy_engine.compiler.generated_names import is_generated, source_name
from policy_engine.compiler.terms import COMPREHENSIONS, map_term
from policy_engine.domains import Domain
from policy_engine.syntax import nodes, printer
from policy_engine.syntax.nodes import Term

_SHOWN: Final = 12


def text(term: Term, definitions: Mapping[str, Term]) -> str:
    """A term as the policy writes it, with intermediate values put back and comprehensions abbreviated."""
    return printer.to_text(_written(term, definitions))


def _written(term: Term, definitions: Mapping[str, Term]) -> Term:
    if isinstance(term, nodes.Var):
        if is_generated(term.name) and term.name in definitions:
            return _written(definitions[term.name], definitions)
        return nodes.Var(source_name(term.name) or "_")
    if isinstance(term, COMPREHENSIONS):
        return nodes.Var("[… | …]" if isinstance(term, nodes.ArrayComprehension) else "{… | …}")
    return map_term(term, lambda part: _written(part, definitions))


def types_text(domain: Domain) -> str:
    """The types of a domain: `a number or a string`."""
    articles = {"array": "an array", "object": "an object", "null": "null"}
    return " or ".join(articles.get(each, f"a {each}") for each in sorted(domains.types(domain)))


def listed(names: Sequence[str]) -> str:
    """Some names, the first of them if there are many."""
    shown = ", ".join(f"`{each}`" for each in names[:_SHOWN])
    return shown + (", …" if len(names) > _SHOWN else "")
