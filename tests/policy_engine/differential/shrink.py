"""Shrinks a program with a difference, and writes it as a case.

Parts are taken away from the syntax trees, the data and the input, largest first, as long as the same kind of
difference remains and is not explained by order. The rest becomes a case like those of
`tests/policy_engine/language`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from policy_engine.errors import PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Node
from policy_engine.syntax.parser import parse_module
from policy_engine.syntax.printer import to_text
from policy_engine.syntax.visitor import FIELDS, children
from policy_engine.values import Number, number_text
from tests.oracle import Oracle
from tests.policy_engine.differential.compare import MODULES, Difference, Engine, Opa, differences, query
from tests.policy_engine.differential.order import proof
from tests.policy_engine.differential.program import Program

SECONDS: Final = 30.0
"""The time limit for one program."""

Still = Callable[[Program], bool]


def shrunk(program: Program, difference: Difference, oracle: Oracle, seconds: float = SECONDS) -> Program:
    """The smallest program found in the time that has a difference of this kind."""

    def still(smaller: Program) -> bool:
        for item in differences(smaller, oracle, Engine(smaller), strict=difference.strict):
            if item.kind == difference.kind:
                return proof(smaller, item, oracle, attempts=12) is None
        return False

    return reduced(program, difference.path, still, seconds)


def reduced(program: Program, path: str, still: Still, seconds: float = SECONDS) -> Program:
    """The smallest program found in the time that is `still` what is looked for."""
    deadline = time.monotonic() + seconds
    one = dataclasses.replace(program, paths=[path if path != MODULES else program.paths[-1]])
    if still(one):
        program = one
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(program):
            if time.monotonic() > deadline:
                return program
            if still(smaller):
                program = smaller
                progress = True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Programs with one part less, the largest parts first."""
    for name in program.modules if len(program.modules) > 1 else ():
        yield dataclasses.replace(
            program, modules={other: text for other, text in program.modules.items() if other != name}
        )
    for name, source in program.modules.items():
        for text in _smaller_texts(name, source):
            yield dataclasses.replace(program, modules={**program.modules, name: text})
    for value in _smaller_values(program.input):
        yield dataclasses.replace(program, input=value)
    if isinstance(program.data, dict):
        for value in _smaller_values(program.data):
            if isinstance(value, dict):
                yield dataclasses.replace(program, data=value)


def _smaller_texts(name: str, source: str) -> Iterator[str]:
    try:
        module = parse_module(source, name)
    except PolicyError:
        lines = source.split("\n")
        for row in range(1, len(lines)):
            yield "\n".join(lines[:row] + lines[row + 1 :])
        return
    known = {source}
    for coarse in (True, False):
        for tree in _smaller_trees(module, coarse):
            text = to_text(tree)
            if text not in known:
                known.add(text)
                yield text


_LISTS: Final = {
    "rules": 0, "imports": 0, "body": 1, "withs": 0, "items": 0, "pairs": 0, "path": 1, "args": 1, "parts": 0,
    "symbols": 1, "operands": 2,
}  # fmt: skip
"""Fields that are lists, and how many must remain."""
_OPTIONAL: Final = ("else_", "value", "key")


def _smaller_trees(node: Any, coarse: bool) -> Iterator[Any]:
    """The tree with one part less. `coarse` parts are rules, statements and what stands beside them."""
    if not coarse:
        yield from _instead(node)
    for name in FIELDS[node.__class__]:
        value = getattr(node, name)
        if name == "operator":
            continue
        if value.__class__ is tuple:
            least = 0 if isinstance(node, nodes.Rule) and name == "body" else _LISTS.get(name, len(value))
            infix = isinstance(node, nodes.Call) and node.infix
            if len(value) > least and not infix and (coarse or name not in ("rules", "imports", "body", "withs")):
                for number in range(len(value)):
                    yield dataclasses.replace(node, **{name: value[:number] + value[number + 1 :]})
            for number, item in enumerate(value):
                for smaller in _smaller_parts(item, coarse):
                    yield dataclasses.replace(node, **{name: (*value[:number], smaller, *value[number + 1 :])})
        elif value is not None:
            if name in _OPTIONAL and node.__class__ in (nodes.Rule, nodes.Head):
                without: Any = {name: None}
                yield dataclasses.replace(node, **without)
            for smaller in _smaller_trees(value, coarse):
                yield dataclasses.replace(node, **{name: smaller})


def _smaller_parts(item: Any, coarse: bool) -> Iterator[Any]:
    if isinstance(item, Node):
        yield from _smaller_trees(item, coarse)
    elif item.__class__ is tuple:  # a pair of an object, a body in braces
        if len(item) > 1 and isinstance(item[0], nodes.Expr):
            for number in range(len(item)):
                yield item[:number] + item[number + 1 :]
        for number, part in enumerate(item):
            for smaller in _smaller_parts(part, coarse):
                yield (*item[:number], smaller, *item[number + 1 :])


def _instead(node: Node) -> Iterator[Node]:
    """Smaller nodes that can replace a node."""
    if isinstance(node, nodes.Expr):
        if node.negated:
            yield dataclasses.replace(node, negated=False)
        return
    if not isinstance(node, nodes.Term) or isinstance(node, nodes.Scalar | nodes.Var):
        return
    parts = children(node)[1:] if isinstance(node, nodes.Call) else children(node)
    yield from (part for part in parts if isinstance(part, nodes.Term))
    yield nodes.Scalar(1)


def _smaller_values(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield {other: kept for other, kept in value.items() if other != key}
            for smaller in _smaller_values(item):
                yield {**value, key: smaller}
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield value[:number] + value[number + 1 :]
            for smaller in _smaller_values(item):
                yield [*value[:number], smaller, *value[number + 1 :]]
    elif value not in (None, 0, ""):
        yield 0


# ---- cases


def case(program: Program, difference: Difference, note: str, oracle: Oracle) -> dict[str, Any]:
    """The program as a case whose wanted answer is OPA's."""
    path = program.paths[0]
    opa = Opa.ask(program, oracle, [path])
    outcome = opa.outcomes[path]
    fields: dict[str, Any] = {"note": note, "modules": list(program.modules.values())}
    if program.data:
        fields["data"] = program.data
    fields["input"] = program.input
    if difference.strict and not opa.refused:
        fields["strict_error"] = True
    fields["query"] = query([path])
    if opa.refused:
        fields["want_error_code"] = difference.opa.split()[-1]
    elif outcome.startswith("error "):
        fields["want_error_code"] = outcome.removeprefix("error ")
    else:
        fields["want_result"] = [{"x0": outcome}]
    return fields


class _Dumper(yaml.SafeDumper):
    """Sources are written as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(
    Number, lambda dumper, number: dumper.represent_scalar("tag:yaml.org,2002:float", number_text(number))
)
_Dumper.add_representer(str, _text)


def write_case(directory: Path, program: Program, difference: Difference, label: str, oracle: Oracle) -> Path:
    """Shrink the program and write its case to a file of the directory, with what the two sides said as a comment."""
    small = shrunk(program, difference, oracle)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{label.replace('/', '-')}.yaml"
    text = yaml.dump(
        {"cases": [case(small, difference, f"found by seed {label}", oracle)]},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=110,
    )
    comment = "".join(f"# {line}\n" for line in str(difference).split("\n"))
    file.write_text(comment + text, "utf-8")
    return file


def sources(program: Program) -> str:
    """The program as readable text."""
    texts = [f"# {name}\n{text.strip()}" for name, text in program.modules.items()]
    return "\n".join([*texts, f"data  {json.dumps(program.data)}", f"input {json.dumps(program.input)}"])
