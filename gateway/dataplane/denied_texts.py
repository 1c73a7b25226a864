"""The text for a client of a decision that denies: the policies' reasons, or what was missing if there are none.

A developer can mend a request, or ask whoever writes the policies, only if the text says which of the two it takes.
The text tells the shape of a policy's answer, never a value or a condition in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import Denied
from gateway.policy.authorization import CHANGED_TWICE, NOT_ENFORCED, Authorization

_LONGEST: Final = 128
_AUTHOR: Final = "whoever writes the policies has to mend that"
_FEWER: Final = "ask for fewer answers (`n`) or fewer tokens"


def denial(found: Authorization) -> Denied:
    """The refusal of a call that a decision denies."""
    denied = Denied(found.code, reasons=found.reasons or _missing(found))
    if found.code in ("policy_denied", "policy_undefined") and not found.reasons:
        denied.message = f"no policy allows {_asked(found.input)}"
    return denied


def _missing(found: Authorization) -> tuple[str, ...]:
    if found.code == "policy_unsupported":
        unmet = found.detail.removeprefix(NOT_ENFORCED)
        if unmet == found.detail:
            return (f"{found.detail}; {_AUTHOR}",)
        return (f"{unmet}: {_FEWER}" if unmet.startswith("`max_output_tokens`") and "asks for" in unmet else unmet,)
    if found.code == "policy_bad_decision":
        detail = found.detail or CHANGED_TWICE.detail
        return (f"{detail}; {_AUTHOR}",)
    return ()


def _asked(document: Mapping[str, Any]) -> str:
    """`chat.completions of o3`: what a call wants, in the words of its input document."""
    model = document["resource"]["model"]
    named = isinstance(model, str) and 0 < len(model) <= _LONGEST and model.isprintable()
    return f"{document['action']} of {model}" if named else str(document["action"])
