"""Bundles that are asked and do not count: what they would decide on a request, for the log.

They judge the request as it came, after the bundles that count, within a deadline of their own. Nothing that goes wrong
here changes what happens to the request.
Specification: policies.md, "Trying a bundle in the shadow".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.policy import authorization
from gateway.policy.cache import Shadow
from gateway.policy.decision import MAX_INTEGER, Verdict

# The log's entry has room for so much beside everything else.
_MOST: Final = 16
_REASONS: Final = 4
_TEXT: Final = 200
_ALL: Final = 8 * 1024  # of all together; beyond it only the codes are kept


def ask(shadows: Sequence[Shadow], document: Mapping[str, Any], now_ns: int, ends: float) -> str:
    """Each one's decision on an input document, as JSON text; `ends` is their deadline (`time.monotonic`)."""
    verdicts = [(each, _verdict(each, document, now_ns, ends)) for each in shadows[:_MOST]]
    try:
        text = _json([_shown(*each) for each in verdicts])
        if len(orjson.dumps(text)) <= _ALL:
            return text
    except (TypeError, ValueError, RecursionError):  # a text that JSON cannot express
        pass
    return _json([_named(*each) for each in verdicts])


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _verdict(shadow: Shadow, document: Mapping[str, Any], now_ns: int, ends: float) -> Verdict:
    if shadow.bundle is None:
        return Verdict("policy_not_loaded")
    if len(document["resource"]["models"]) > 1 and not shadow.bundle.models:
        return authorization.one_model(shadow.name)
    seed = secrets.randbelow(MAX_INTEGER) if shadow.bundle.nondeterministic else None
    return authorization.asked(shadow.bundle, shadow.name, shadow.effect, document, now_ns, seed, ends)[0]


def _named(shadow: Shadow, verdict: Verdict) -> dict[str, Any]:
    return {
        "name": shadow.name,
        "effect": shadow.effect,
        "commit": None if shadow.ref is None else shadow.ref.commit,
        "digest": None if shadow.ref is None else shadow.ref.digest,
        "code": verdict.code,
        "reasons": [],
    }


def _shown(shadow: Shadow, verdict: Verdict) -> dict[str, Any]:
    shown = _named(shadow, verdict) | {"reasons": [each[:_TEXT] for each in verdict.reasons[:_REASONS]]}
    if verdict.detail:
        shown["detail"] = verdict.detail[:_TEXT]
    if verdict.obligations:
        shown["obligations"] = verdict.obligations.document()
    return shown
