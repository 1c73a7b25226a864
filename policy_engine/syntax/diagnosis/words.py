"""What authors bring along from other languages, and what Rego has instead."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from policy_engine.syntax.lexer import KEYWORDS

_AND: Final = "`&&` is not an operator: separate the expressions of a body by `;` or a new line, all of them must hold"
_OR: Final = "`||` is not an operator: write one rule (or function) for each case"
_COMMENT: Final = "`{}` does not begin a comment, `#` does"
_UPDATE: Final = "there is no `{}`: a variable keeps its value, give the new one a new name"
_LOOP: Final = (
    "`{}` is not a keyword: iterate with `some x in xs`, in a comprehension `[x | some x in xs]`, and check all with "
    "`every x in xs { … }`"
)
_FUNCTION: Final = "a function begins with its name: `f(x) := value if { … }`"
_DECLARE: Final = "`{}` is not a keyword: a variable or a rule begins with its name, `x := 1`"

COMMENTS: Final = ("//", "/*", "--", "; ")
OPERATORS: Final = {
    "&&": _AND,
    "||": _OR,
    **{sign: _COMMENT.format(sign.strip()) for sign in COMMENTS},
    "===": "`===` is not an operator: equality is `==`",
    "!==": "`!==` is not an operator: inequality is `!=`",
    "<>": "`<>` is not an operator: inequality is `!=`",
    "=>": "`=>` is not an operator: at least is `>=`; a member of an object is `key: value`",
    "=<": "`=<` is not an operator: at most is `<=`",
    "<=>": "`<=>` is not an operator",
    "->": "`->` is not an operator: a field is `x.name`",
    "::": "`::` is not an operator: a name in a package is `data.package.name`",
    "**": "`**` is not an operator: there are no powers, multiply",
    "|>": "`|>` is not an operator: calls are nested, `f(g(x))`",
    **{sign: _UPDATE.format(sign) for sign in ("++", "+=", "-=", "*=", "/=", "%=", "|=", "&=")},
}
"""Pairs of Rego's own operators that never stand together in a text that can be read."""

_LONGEST_OPERATOR: Final = max(map(len, OPERATORS))

WORDS: Final = {
    **dict.fromkeys(("for", "foreach", "forall", "while"), _LOOP),
    **dict.fromkeys(("def", "func", "function", "fn", "fun", "lambda"), f"`{{}}` is not a keyword: {_FUNCTION}"),
    **dict.fromkeys(("let", "var", "const", "set", "val", "rule", "policy", "static", "public", "export"), _DECLARE),
    "return": "`return` is not a keyword: the value of a rule stands in its head, `f(x) := value if { … }`",
    "elif": "`elif` is not a keyword: a further case is `else := … if { … }`",
    "elsif": "`elsif` is not a keyword: a further case is `else := … if { … }`",
    "elseif": "`elseif` is not a keyword: a further case is `else := … if { … }`",
    "then": "`then` is not a keyword: the value stands before the condition, `name := value if { … }`",
    "when": "`when` is not a keyword: a condition follows `if`",
    "unless": "`unless` is not a keyword: a condition follows `if`, negated with `not`",
    "where": "`where` is not a keyword: conditions are expressions of the body, on lines of their own",
    "is": "`is` is not an operator: values are compared with `==`",
    "of": "`of` is not a keyword: `some x in xs`",
    "new": "`new` is not a keyword: values are written or returned by functions",
    "from": "`from` is not a keyword: `import data.package.name`",
    "and": "`and` is not an operator without `import future.keywords.and`: write the expressions on lines of their own",
    "or": "`or` is not an operator without `import future.keywords.or`: write one rule for each case",
    "xor": "`xor` is not an operator: compare two booleans with `!=`",
}
"""Names that another name or a value follows in the same line, which Rego's own names never are."""


def operator(text: str) -> str:
    """The operator of another language that `text` begins with, "" if there is none."""
    for length in range(_LONGEST_OPERATOR, 1, -1):
        if text[:length] in OPERATORS:
            return text[:length]
    return ""


def word(name: str) -> str:
    """What to say of a name that stands where a keyword might, "" if nothing."""
    if name in WORDS:
        return WORDS[name].replace("{}", name)
    close = get_close_matches(name, [keyword for keyword in KEYWORDS if len(keyword) > 3], 1, 0.75)
    return f"unexpected `{name}`, did you mean `{close[0]}`?" if close and name not in KEYWORDS else ""
