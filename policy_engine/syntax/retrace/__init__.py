"""Where OPA gives up: a refused text, read once more in the way OPA reads it.

The automaton of parser.py refuses what OPA refuses, but it learns of an error at another token: it decides braces and
bars by looking ahead, where OPA tries one reading after the other and reports where its last attempt ended. Whoever
compares the two looks at the place. So a text that was refused, and no other, is read again by descent, and the errors
are those that remain. Accepted texts never come here, and where the reader gives up (on a text that nests too deep),
the automaton's own place stands.

`scanner` has tokens, `terms`, `bodies` and `statements` what is made of them.
"""

from __future__ import annotations

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.retrace.cursor import GaveUp
from policy_engine.syntax.retrace.statements import StatementReader

__all__ = ["placed"]


def placed(error: PolicyError, source: str, file: str) -> PolicyError:
    """The parse error of a module, where OPA has it, with OPA's words and all that OPA finds besides, in its order.

    A hint says what to do about what the automaton found: it is kept where that is on the same row.
    """
    found = _errors(source, file)
    if not found:
        return error
    first, hint = found[0], error.hint
    if error.location is None or first.location is None or error.location.row != first.location.row:
        hint = ""
    several = [PolicyError(first.code, first.message, first.location, hint=hint), *found[1:]] if found[1:] else ()
    return PolicyError(first.code, first.message, first.location, hint=hint, errors=several)


def _errors(source: str, file: str) -> list[PolicyError]:
    """What OPA reports of a module; [] if it reports nothing, or this reader cannot tell."""
    try:
        reader = StatementReader(source)
        failures = reader.module()
    except GaveUp:
        return []
    found = []
    for message, token in failures:
        row, col = reader.scanner.place(token)
        if not message.isprintable():  # it quotes the text, and is shown on terminals
            message = "".join(
                [character if character.isprintable() else repr(character)[1:-1] for character in message]
            )
        found.append(PolicyError(PARSE_ERROR, message, Location(file, row, col, row, col + len(token.text))))
    return found
