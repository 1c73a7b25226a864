"""Texts that are nearly Rego: tokens of real modules deleted, doubled, swapped and replaced."""

from __future__ import annotations

import random
import re
from pathlib import Path

from tests.cases import read_yaml
from tests.policy_engine.syntax.around import AROUND

_TOKEN = re.compile(r'\s+|"(?:[^"\\\n]|\\.)*"|`[^`]*`|[A-Za-z_]\w*|\d+(?:\.\d+)?|:=|[=!<>]=|.', re.DOTALL)
_INSERTED = (
    "if", "else", "some", "every", "in", "not", "with", "as", "contains", "default", "import", "package", "true",
    "null", "and", "or", "set()", "{", "}", "[", "]", "(", ")", ",", ";", ":", ":=", "=", "==", "|", "&", "-", "+", "*",
    ".", ".x", "[0]", "(x)", "{1}", "{x}", "[x]", "{1:2}", "1", "-1", "x", "_", "$", '"a"', "`a`", '$"{x}"', '$"', " ",
    "\n", "\n\n", "# c\n",
)  # fmt: skip


def sources() -> list[str]:
    """The modules of the cases beside this file: every construct of the language, in small."""
    texts = []
    for path in sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml")):
        for fields in read_yaml(path)["cases"]:
            (place,) = AROUND.keys() & fields.keys()
            texts.append(AROUND[place].format(fields[place]))
    return [text for text in texts if text.isascii()]


def tokens_of(source: str) -> list[str]:
    return _TOKEN.findall(source)


def mutate(random: random.Random, tokens: list[str], others: list[str]) -> str:
    """`tokens` with one to three changes, some of them taken from `others`."""
    tokens = list(tokens)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if not tokens:
            break
        index, other = random.randrange(len(tokens)), random.randrange(len(tokens))
        match random.randrange(6):
            case 0:
                del tokens[index]
            case 1:
                tokens.insert(index, tokens[index])
            case 2:
                tokens[index], tokens[other] = tokens[other], tokens[index]
            case 3:
                tokens.insert(index, random.choice(_INSERTED))
            case 4:
                tokens[index] = random.choice(_INSERTED)
            case 5:
                tokens.insert(index, random.choice(others or _INSERTED))
    return "".join(tokens)
