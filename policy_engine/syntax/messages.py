"""The words for a token that cannot stand where it stands, after the manner of OPA, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.syntax.builder import OPERATORS
from policy_engine.syntax.lexer import KEYWORDS, Token

NAMES = {
    "$END": "eof", "NAME": "identifier", "NUMBER": "number", "STRING": "string", "RAW": "string", "FIELD": ".",
    "FIELD_FREE": ".", "TSTART": "template-string", "TTEXT": "template-string", "TOPEN": "{", "TCLOSE": "}",
    "TEND": "template-string-end",
}  # fmt: skip
CLOSE = (("RBRACE", "}"), ("RSQB", "]"), ("RPAR", ")"), ("TCLOSE", "}"))
SEPARATORS = (("COLON", ":"), ("COMMA", ","), ("LBODY", "{"))
WORDS = (("AS", "as"), ("NAME", "a name"))
V0 = "Rego v1 has `if` before each body and `contains` in partial sets; OPA's `opa fmt --write --v0-v1` converts v0"

Accepts = Callable[[str], bool]


def unexpected(tokens: list[Token], position: int, accepts: Accepts) -> PolicyError:
    """The error for `tokens[position]`; `accepts` tells which kinds of token could have come instead."""
    token = tokens[position]
    what = "keyword" if token.text in KEYWORDS and token.kind not in NAMES else "token"
    name = NAMES.get(token.kind) or OPERATORS.get(token.text, token.text)
    message = f"unexpected {name} {what}"
    expected = [] if accepts("DEFAULT") else _expected(accepts)
    if expected:
        message += ": expected " + " or ".join(expected)
    return PolicyError(PARSE_ERROR, message, token.loc, hint=_hint(tokens, position, accepts))


def _expected(accepts: Accepts) -> list[str]:
    close = [text for kind, text in CLOSE if accepts(kind)]
    if accepts("SEMI"):
        return ["\\n", ";", *close]
    if accepts("NUMBER"):
        return ["a term", *close]
    if accepts("IF"):  # a { there would be version 0
        return [text for kind, text in (("ASSIGN", ":="), ("IF", "if")) if accepts(kind)]
    return [text for kind, text in (*SEPARATORS, *CLOSE, *WORDS) if accepts(kind)]


def _hint(tokens: list[Token], position: int, accepts: Accepts) -> str:
    token = tokens[position]
    kind, text = token.kind, token.text
    before = tokens[position - 1].text if position else ""
    after = tokens[position + 1].text if kind != "$END" else ""
    operator = _borrowed(before + text) or _borrowed(text + after)
    if operator:
        return operator
    if kind == "$END":
        return "the text ends too early"
    if kind == "FIELD_FREE":
        return f"`.{text}` touches what it belongs to"
    if kind == "SEMI" and accepts("DEFAULT"):
        return "rules are separated by white space, not by ;"
    if before == ";" and kind in ("RBRACE", "RSQB", "SEMI"):
        return "an expression has to follow each ;"
    if kind in ("LBODY", "LBRACE") and accepts("IF"):
        return V0
    if kind == "ELSE":
        return "`else` follows a rule that has a body"
    if kind in ("SOME", "ASSIGN", "EQ", "SEMI") and _behind_bar(tokens, position):
        return "the head of a comprehension is one term; put an expression in parentheses"
    if kind in ("NOT", "SOME", "EVERY"):
        return f"`{text}` stands at the beginning of an expression only"
    if text in KEYWORDS and kind not in NAMES and accepts("NAME"):
        return f"`{text}` is a keyword and cannot be a name by itself; as part of a reference it can (`input.{text}`)"
    if kind in ("ASSIGN", "EQ") and accepts("RELATION"):
        return "inside a term values are compared with =="
    if kind == "RELATION" and accepts("ASSIGN"):
        return "a rule gets its value with :="
    if kind == "SUB" and accepts("NUMBER"):
        return "a minus stands before a number or a name; write `0 - x` for anything else"
    if kind == "COMMA" and accepts("SEMI"):
        return "the expressions of a body are separated by ; or a new line"
    if kind == "RBRACE" and accepts("LBODY"):
        return "`every` needs a body: `every x in xs { ... }`"
    return ""


def _behind_bar(tokens: list[Token], position: int) -> bool:
    """The last bracket that is open holds a union: most likely it was meant to be a comprehension."""
    depth = 0
    for token in reversed(tokens[:position]):
        if token.text in ("}", "]", ")"):
            depth += 1
        elif token.text in ("{", "[", "("):
            depth -= 1
        if depth < 0:
            return False
        if depth == 0 and token.kind == "PIPE":
            return True
    return False


def _borrowed(operator: str) -> str:
    """What other languages write in two characters and Rego does not."""
    return {
        "&&": "the expressions of a body hold together; `and` needs `import future.keywords.and`",
        "||": "write a second rule for the other case; `or` needs `import future.keywords.or`",
        "//": "a comment starts with #",
        "/*": "a comment starts with #",
        "===": "equality is ==",
        "!==": "inequality is !=",
        "=>": "at least is >=",
        "=<": "at most is <=",
        "<>": "inequality is !=",
        "**": "there is no power operator",
        "++": "there is no increment: a value does not change",
    }.get(operator, "")
