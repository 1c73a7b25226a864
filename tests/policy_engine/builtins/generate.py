"""Random operands for builtins: mostly of the right type and near the edges, sometimes of a wrong one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

from policy_engine.values import Set, Value, freeze, parse_number

Operand = Callable[[random.Random], Value]

_CHARACTERS: Final = (
    "aabbccABC  .,-_/:*?[]{}!\\^$|()+0129%éßñİıſΣςǆᾳﬁ\t\n\x00\x1f\x7f\x85\xa0\u0301\u2028\ud7ff\ufffd😀"
)
_WORDS: Final = (
    "",
    "a",
    "ab",
    "abc",
    "foo",
    "foo.bar",
    "a,b,c",
    "aaa",
    "ABC",
    "Straße",
    "ΑΣ",
    "İstanbul",
    " x ",
    "日本語",
    "0",
    "-1",
)
_EDGE_TEXTS: Final = (
    "0 1 -1 2 7 -7 10 0.0 -0 -0.0 0e5 1.0 2.00 0.5 -0.5 1.5 2.5 -2.5 1E3 1.5E-7 1e+2 1e21 1e-7 123456.75 1234567.5"
    " 2147483647 2147483648 -2147483648 -2147483649 4294967296 9007199254740993 9223372036854775807 9223372036854775808"
    " -9223372036854775808 18446744073709551615 18446744073709551616 1e30 1e100 1e-100 99999999999999999999.5"
)
_EDGES: Final = _EDGE_TEXTS.split()


def one_of(*values: Value) -> Operand:
    return lambda rnd: rnd.choice(values)


def either(*operands: Operand) -> Operand:
    return lambda rnd: rnd.choice(operands)(rnd)


def array_of(operand: Operand, longest: int = 4) -> Operand:
    return lambda rnd: [operand(rnd) for _ in range(rnd.randint(0, longest))]


def set_of(operand: Operand, longest: int = 4) -> Operand:
    return lambda rnd: Set(operand(rnd) for _ in range(rnd.randint(0, longest)))


def object_of(key: Operand, value: Operand, longest: int = 3) -> Operand:
    return lambda rnd: {key(rnd): value(rnd) for _ in range(rnd.randint(0, longest))}


def number(rnd: random.Random) -> Value:
    """Any number: edges, integers of all sizes, decimals of few and of many digits, far exponents."""
    kind = rnd.randrange(8)
    if kind < 2:
        return parse_number(rnd.choice(_EDGES))
    if kind == 2:
        return rnd.randint(-20, 20)
    if kind == 3:
        return int(rnd.choice((1, -1)) * 10 ** rnd.uniform(0, 40))
    if kind == 4:
        return parse_number(f"{rnd.uniform(-100, 100):.{rnd.randint(1, 4)}f}")
    if kind == 5:
        return rnd.uniform(-1, 1) * 10 ** rnd.randint(-12, 25)
    if kind == 6:
        return parse_number(f"{rnd.randint(1, 99)}e{rnd.randint(-30, 40)}")
    return parse_number(f"{rnd.randint(-(10**25), 10**25)}.{rnd.randint(0, 10**25)}")


def integer(rnd: random.Random) -> Value:
    """Small integers, in all the ways to write them."""
    value = rnd.randint(-3, 12)
    return parse_number(rnd.choice((f"{value}", f"{value}", f"{value}", f"{value}.0", f"{value}e0")))


def text(rnd: random.Random) -> Value:
    if rnd.random() < 0.4:
        return rnd.choice(_WORDS)
    return "".join(rnd.choice(_CHARACTERS) for _ in range(rnd.randint(0, 8)))


def short(rnd: random.Random) -> Value:
    """A text likely to occur in another one."""
    return rnd.choice(("", "a", "b", "ab", "aa", ",", ".", "é", "ß", text(rnd)))


def any_value(rnd: random.Random, depth: int = 2) -> Value:
    def inner(again: random.Random) -> Value:
        return any_value(again, depth - 1)

    scalars: tuple[Operand, ...] = (one_of(None, True, False), number, integer, text)
    if depth <= 0:
        return rnd.choice(scalars)(rnd)
    composites = (array_of(inner, 3), set_of(inner, 3), object_of(text, inner, 3))
    return rnd.choice(scalars + composites)(rnd)


def operands(rnd: random.Random, signature: tuple[Operand, ...]) -> list[Value]:
    """One value for each operand; in one call of six, one of them is anything."""
    values = [operand(rnd) for operand in signature]
    if values and rnd.random() < 1 / 6:
        values[rnd.randrange(len(values))] = any_value(rnd)
    return [value for value in values if not (isinstance(value, float) and not math.isfinite(value))]


def pattern(rnd: random.Random) -> Value:
    """A regular expression; one in five is broken on purpose."""
    made = _alternatives(rnd, 3)
    if rnd.random() < 0.8:
        return made
    at = rnd.randint(0, len(made))
    return made[:at] + rnd.choice("()[]{}*+?\\|^$-") + made[at + rnd.randint(0, 1) :]


_ATOMS: Final = (
    r"a b c é . \d \w \s \b ^ $ \. \\ [ab] [^a] [a-c] [\d-] [[:alpha:]] (?i:a) \pL \x61 \x{e9} \Qa.b\E \D \A \z (?s:.)"
)


def _alternatives(rnd: random.Random, depth: int) -> str:
    return "|".join(
        "".join(_repeated(rnd, depth) for _ in range(rnd.randint(0, 3))) for _ in range(rnd.choice((1, 1, 1, 2)))
    )


def _repeated(rnd: random.Random, depth: int) -> str:
    if depth and rnd.random() < 0.25:
        atom = rnd.choice(("(", "(?:", "(?P<n>", "(?P<m>", "(?<k1>")) + _alternatives(rnd, depth - 1) + ")"
    else:
        atom = rnd.choice(_ATOMS.split())
    return atom + rnd.choice(("", "", "", "*", "+", "?", "*?", "{2}", "{1,2}", "{0,}", "+?"))


def replacement(rnd: random.Random) -> Value:
    return "".join(
        rnd.choice(("$1", "$n", "${m}", "${2}x", "$$", "$", "x", "é", "${", "$1x", "$01"))
        for _ in range(rnd.randint(0, 3))
    )


def subject(rnd: random.Random) -> Value:
    """A text that patterns are likely to match."""
    return "".join(rnd.choice("aaabbc.é1A_ \n/:") for _ in range(rnd.randint(0, 8)))


def glob(rnd: random.Random) -> Value:
    """A glob pattern of the kind that gobwas/glob gets right (see the rows about it in cases/glob.yaml)."""
    special = rnd.choice((_WILDCARDS, _ALTERNATIVES))
    pieces = [rnd.choice(_PLAIN) for _ in range(rnd.randint(1, 4))]
    for _ in range(rnd.randint(0, 2)):
        pieces.insert(rnd.randrange(len(pieces)), rnd.choice(_BROKEN_GLOBS if rnd.random() < 0.1 else special))
    return "".join(pieces)


_PLAIN: Final = ("a", "b", "c", ".", "/", ":", "é", "\\*", "a.b")
_WILDCARDS: Final = ("*", "**", "?", "[ab]", "[!ab]", "[a-c]", "[!a-c]")
_ALTERNATIVES: Final = ("{a,b}", "{ab,b}", "{,a}", "{a,{b,c}}")
_BROKEN_GLOBS: Final = ("[", "]", "{", "}", ",", "\\", "!", "-", "[a-", "[]", "[c-a]")


def glob_expression(rnd: random.Random) -> Value:
    pieces = [rnd.choice(_EXPRESSION_PIECES) for _ in range(rnd.randint(0, 6))]
    if rnd.random() < 0.2:
        pieces.insert(rnd.randint(0, len(pieces)), rnd.choice(_BROKEN_EXPRESSIONS))
    return "".join(pieces)


_EXPRESSION_PIECES: Final = (
    "a",
    "b",
    "c",
    ".",
    "[ab]",
    "[a-c]",
    "\\.",
    "\\a",
    "a*",
    "b+",
    ".*",
    ".+",
    "[a-b]+",
    "[bc]*",
)
_BROKEN_EXPRESSIONS: Final = ("[", "]", "*", "+", "\\", "[a-", "[-a]", "[c-a]", "[a-]]")


def amount(rnd: random.Random) -> Value:
    number_text = rnd.choice(
        (
            "1",
            "10",
            "1.5",
            "0.1",
            "-2",
            "+3",
            ".5",
            "5.",
            "1e3",
            "1E-2",
            "2e+1",
            "",
            "1.1.1",
            "e5",
            "0.29",
            "99999999999999999999.7",
        )
    )
    unit = rnd.choice(
        (
            "",
            "m",
            "k",
            "K",
            "Ki",
            "ki",
            "M",
            "Mi",
            "g",
            "GB",
            "gib",
            "T",
            "tIb",
            "P",
            "PB",
            "E",
            "e",
            "Ei",
            "foo",
            " kb",
            "b",
        )
    )
    return number_text + unit


def version(rnd: random.Random) -> Value:
    numbers = ".".join(rnd.choice(("0", "1", "2", "10", "01")) for _ in range(rnd.choice((3, 3, 3, 3, 2, 4))))
    pre = rnd.choice(("", "", "-a", "-a.1", "-1", "-2", "-a-b", "-rc.10", "-rc.9", "-", "-a..b", "-A"))
    return rnd.choice(("", "", "", "v", "V", "+")) + numbers + pre + rnd.choice(("", "", "+b", "+1.2", "+", "+a+b"))


def uuid(rnd: random.Random) -> Value:
    digits = f"{rnd.getrandbits(128):032x}"
    digits = (
        digits[:12]
        + rnd.choice("0112234567")
        + digits[13:16]
        + rnd.choice("089abcde")
        + digits[17:18]
        + rnd.choice("01")
        + digits[19:]
    )
    dashed = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return rnd.choice(
        (
            dashed,
            dashed,
            dashed.upper(),
            digits,
            f"urn:uuid:{dashed}",
            f"{{{dashed}}}",
            dashed[:-1],
            dashed.replace("-", "_"),
        )
    )


_NODES: Final = one_of("a", "b", "c", 1, True, "gone")
nodes: Final = either(array_of(_NODES, 3), set_of(_NODES, 3))


def graph(rnd: random.Random) -> Value:
    return {freeze(_NODES(rnd)): either(nodes, nodes, nodes, any_value)(rnd) for _ in range(rnd.randint(0, 5))}


def format_string(rnd: random.Random) -> Value:
    return "".join(
        _directive(rnd) if rnd.random() < 0.8 else rnd.choice(("é", "x", "%%", " ")) for _ in range(rnd.randint(0, 4))
    )


def _directive(rnd: random.Random) -> str:
    if rnd.random() < 0.1:
        return "%" + "".join(rnd.choice("[]123*.-+# 0dvsx%é") for _ in range(rnd.randint(0, 5)))
    flags = "".join(rnd.choice("#0+- ") for _ in range(rnd.choice((0, 0, 1, 1, 2))))
    width = rnd.choice(("", "", "1", "6", "12", "*"))
    precision = rnd.choice(("", "", "", ".", ".0", ".2", ".5", ".20", ".*"))
    index = rnd.choice(("",) * 8 + ("[1]", "[2]", "[9]", "[x]", "["))
    return f"%{flags}{width}{precision}{index}{rnd.choice('vvddsqxXobOcUeEfFgGtTz')}"


format_arguments: Final = array_of(either(integer, integer, number, number, text, any_value), 5)


def template(rnd: random.Random) -> Value:
    return _template(rnd, 2)


def _template(rnd: random.Random, depth: int) -> str:
    return "".join(_template_node(rnd, depth) for _ in range(rnd.randint(0, 3)))


def _template_node(rnd: random.Random, depth: int) -> str:
    kind = rnd.randrange(10)
    if kind < 2:
        return rnd.choice(("x", " y ", "\n", "<é>", "{"))
    left, right = rnd.choice(("{{", "{{", "{{- ")), rnd.choice(("}}", "}}", " -}}"))
    if kind < 7 or not depth:
        return left + rnd.choice(("", "", "", "$v := ", "$w = ")) + _template_pipe(rnd) + right
    if kind == 7:
        return left + "/* c */" + right
    word = rnd.choice(("if ", "with ", "range ", "range $i, $v := ", "range $v := "))
    otherwise = "{{else}}" + _template(rnd, depth - 1) if rnd.random() < 0.3 else ""
    return left + word + _template_pipe(rnd) + right + _template(rnd, depth - 1) + otherwise + "{{end}}"


def _template_pipe(rnd: random.Random) -> str:
    first = rnd.choice(_TEMPLATE_VALUES) if rnd.random() < 0.6 else _template_call(rnd)
    return " | ".join((first, *(_template_call(rnd) for _ in range(rnd.choice((0, 0, 0, 1))))))


_TEMPLATE_FUNCTIONS: Final = (
    "len",
    "index",
    "eq",
    "ne",
    "lt",
    "and",
    "or",
    "not",
    "print",
    "println",
    "html",
    "js",
    "urlquery",
    "slice",
    'printf "%v|%q"',
)


def _template_call(rnd: random.Random) -> str:
    return " ".join(
        (rnd.choice(_TEMPLATE_FUNCTIONS), *(rnd.choice(_TEMPLATE_VALUES) for _ in range(rnd.randint(0, 2))))
    )


_TEMPLATE_VALUES: Final = (
    ".a",
    ".b",
    ".list",
    ".map",
    ".map.k",
    ".gone",
    ".",
    "$",
    "$.a",
    "1",
    '"s"',
    "true",
    "nil",
    "(len .a)",
    "$v",
)

template_data: Final = object_of(
    one_of("a", "b", "list", "map"), either(one_of("x", "", 1, 2.50, True, None, [1, "b"], [], {"k": 1}, {}, "<é'>")), 5
)
