"""Words and operators of other languages, and Rego's own for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from policy_engine.syntax.diagnosis.text import Mistake, Text
from policy_engine.syntax.lexer import KEYWORDS, PUNCTUATION, Token

_COMMENTS: Final = ("//", "/*", "--", "; ")
_OPERATORS: Final = {
    "&&": "separate the expressions of a body by `;` or a new line; `&` intersects sets",
    "||": "write one rule or function for each case; `|` unites sets",
    "===": "equality is `==`",
    "!==": "inequality is `!=`",
    "<>": "inequality is `!=`",
    "=>": "at least is `>=`; a member of an object is `key: value`",
    "=<": "at most is `<=`",
    "->": "a field is `x.name`",
    "::": "a name in a package is `data.package.name`",
    "**": "there are no powers, multiply",
    "|>": "calls are nested, `f(g(x))`",
    **dict.fromkeys(
        ("++", "+=", "-=", "*=", "/=", "%=", "|=", "&="), "a variable keeps its value, give the new one a new name"
    ),
}
"""None of these stands in a text that can be read, though all of them consist of Rego's own signs."""

_ITERATION: Final = "iterate with `some x in xs` (`[x | some x in xs]`), check all with `every x in xs { … }`"
_WORDS: Final = {
    **dict.fromkeys(("for", "foreach", "forall", "while"), _ITERATION),
    **dict.fromkeys(("def", "func", "function", "fn", "fun", "lambda"), "write `f(x) := value if { … }`"),
    **dict.fromkeys(
        ("let", "var", "const", "set", "val", "rule", "policy", "static", "public", "export"), "write `name := value`"
    ),
    **dict.fromkeys(("elif", "elsif", "elseif"), "a further case is `else := … if { … }`"),
    "return": "the value of a rule stands in its head, `f(x) := value if { … }`",
    "then": "the value stands before the condition, `name := value if { … }`",
    "when": "a condition follows `if`",
    "unless": "a condition follows `if`, negated with `not`",
    "where": "conditions are expressions of the body, on lines of their own",
    "is": "values are compared with `==`",
    "of": "iterate with `some x in xs`",
    "new": "values are written as they are, or returned by functions",
    "from": "what is imported is named in full, `import data.package.name`",
    "and": "it needs `import future.keywords.and` or `rego.v2`; expressions on lines of their own must all hold anyway",
    "or": "it needs `import future.keywords.or` or `rego.v2`; or write one rule for each case",
    "xor": "compare two booleans with `!=`",
}
"""Names that another name or a value follows in the same row, as it never does a name of Rego."""

_SIGNS: Final = frozenset(PUNCTUATION.values()) | {"SUB"}
_CONFLICT: Final = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: .*)?$", re.MULTILINE)
_COMMENT_END: Final = re.compile(r"\*/|\Z")
_LIKELY: Final = [keyword for keyword in KEYWORDS if len(keyword) > 3]


def word(name: str) -> str:
    """The message about a name at the place of a keyword, "" if there is none."""
    if name in _WORDS:
        return f"`{name}` is not a keyword: {_WORDS[name]}"
    close = get_close_matches(name, _LIKELY, 1, 0.75) if name not in KEYWORDS else None
    return f"unexpected `{name}`, did you mean `{close[0]}`?" if close else ""


def mistake(text: Text, tokens: Sequence[Token]) -> Mistake | None:
    """The marks of a merge, or the first operator or comment of another language."""
    source = text.source
    if conflict := _CONFLICT.search(source):
        repaired = _CONFLICT.sub(lambda mark: " " * len(mark[0]), source)
        return Mistake(*conflict.span(), "unresolved merge conflict", "keep one side and remove the marks", repaired)
    row = 0
    for index, token in enumerate(tokens):
        begins, row = token.loc.row > row, token.loc.end_row
        if token.kind not in _SIGNS:
            continue
        start = text.offset(token.loc)
        for written in (source[start : start + 3], source[start : start + 2]):
            if written in _OPERATORS:
                is_member = written == "=>" and index and tokens[index - 1].kind == "STRING"
                message = f"`{written}` is not an operator: {_OPERATORS[written]}"
                return text.mistake(start, start + len(written), message, ": " if is_member else "==")
            if written in _COMMENTS and (written[0] == "/" or (begins and (written == "--" or token.loc.col == 1))):
                return _comment(text, start, written)
    return None


def _comment(text: Text, start: int, written: str) -> Mistake:
    end, source = start + 2, text.source
    repaired = f"{source[:start]}# {source[end:]}"
    if written == "/*":
        repaired = text.replaced(start, _COMMENT_END.search(source, end).end())  # type: ignore[union-attr]
    return Mistake(start, end, f"`{written.strip()}` does not begin a comment, `#` does", "", repaired)
