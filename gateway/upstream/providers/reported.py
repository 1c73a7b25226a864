"""Reading single facts out of an answer. An upstream may send anything, so what is no such fact counts as absent."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

from gateway.call import Reference
from gateway.upstream.taps import ProviderReport

_BEYOND = 2**53  # no number of tokens
_MAX_NAME = 256
_MOST_KEPT = 1000  # references from one answer: each is a row in `runtime.db`
# Names of numbers of tokens; `tokens_per_second` is none. Tokens read from a cache are left out: that makes a call
# cheaper, so nothing is lost if it cannot be read.
_OF_TOKENS = re.compile(r"(?!.*(?:cached|cache_read|cache_hit)).*(?:tokens|token_count|tokencount)$", re.IGNORECASE)
_DEPTH = 4
_MOST_LISTED = 1000
_ID = re.compile(r"[A-Za-z0-9_.:/+=-]{1,256}")


def count(holder: Any, name: str) -> int | None:
    """The number of tokens under `name`."""
    value = holder.get(name) if holder.__class__ is dict else None
    return value if value.__class__ is int and 0 <= value < _BEYOND else None


def check(report: ProviderReport, usage: object, *, whole: bool = True) -> None:
    """Note it if a provider's usage cannot be charged by: what is wrong in it, or missing, would count as nothing.

    `whole` says whether it has what an answer needs, as far as is known by now. A number of tokens is an integer from
    0 on, or absent or null.
    """
    report.lacking = not whole
    if not _sound(usage, _DEPTH):
        report.unsound = True


def _sound(value: object, depth: int) -> bool:
    """True if each number of tokens in a value is one. Values nested more deeply belong to no usage."""
    if isinstance(value, list):
        return depth == 0 or all(_sound(each, depth - 1) for each in value[:_MOST_LISTED])
    if not isinstance(value, dict):
        return True
    for name, each in value.items():
        if isinstance(each, dict | list):
            if depth and not _sound(each, depth - 1):
                return False
        elif each is not None and not (each.__class__ is int and 0 <= each < _BEYOND) and _OF_TOKENS.match(name):
            return False
    return True


def nanodollars(value: object, per_dollar: int = 1) -> int | None:
    """An amount of money in nano-dollars, rounded up, of which `per_dollar` make a dollar; None if it is none."""
    if value.__class__ not in (int, float) or not 0 <= value < 10**15:
        return None
    # As it was written: a float is not.
    return int((Decimal(str(value)) * 10**9 / per_dollar).to_integral_value(ROUND_CEILING))


def used(report: ProviderReport, tool: str, times: int | None) -> None:
    """Report how often a tool was used. Later values win, and what was not used is not told of."""
    if times:
        report.tools[tool] = times


def text(value: object) -> str | None:
    """A name such as that of the model that answered, cut to a size that the log can hold."""
    return value[:_MAX_NAME] if isinstance(value, str) else None


def keep(report: ProviderReport, kind: str, identifier: object) -> None:
    """Report state that the provider keeps under `identifier`. A thing beyond what is remembered is foreign later."""
    if isinstance(identifier, str) and _ID.fullmatch(identifier) and len(report.created) < _MOST_KEPT:
        reference = Reference(kind, identifier)
        if reference not in report.created:
            report.created.append(reference)
