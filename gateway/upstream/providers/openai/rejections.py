"""Reads errors of servers that speak the OpenAI API, beyond their status.

Sources: https://platform.openai.com/docs/guides/error-codes, https://openrouter.ai/docs/api/reference/errors-and-debugging,
https://console.groq.com/docs/model-permissions, https://docs.together.ai/docs/error-codes,
https://docs.z.ai/api-reference/api-code; the texts of xAI, Fireworks, Azure and Bedrock as they were seen in answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gateway.upstream.providers.rejections import Rejection, Why, inner, names_account, text

Reject: TypeAlias = Callable[[int, dict[str, Any]], Rejection | None]
"""The error of a status and a document."""

_NO_ACCESS: Final = re.compile(r"Project `[^`]{1,128}` (does not have access to model `[^`]{1,200}`)\.?")
_GROQ_BLOCKED: Final = {
    "model_permission_blocked_org": "The model is blocked at the organization level.",
    "model_permission_blocked_project": "The model is blocked at the project level.",
}
_XAI_FLAGGED: Final = "Content violates usage guidelines"
_XAI_MODEL: Final = re.compile(r"\bModel: ([A-Za-z0-9][A-Za-z0-9._-]{0,127})")
_XAI_CHECK: Final = re.compile(r"\bFailed check: (SAFETY_CHECK_TYPE_[A-Z0-9_]{1,64})")
_XAI_NO_CREDIT: Final = re.compile(
    r"doesn't have any credits|run out of credits|used all available credits or reached its monthly spending limit"
)
_TOO_LONG: Final = re.compile(
    r"Input validation error: `inputs` tokens \+ `max_new_tokens` must be <= \d+\. "
    r"Given: \d+ `inputs` tokens and \d+ `max_new_tokens`"
)
_BEDROCK_NO_ACCESS: Final = "You don't have access to the model with the specified model ID."


def openai(status: int, document: dict[str, Any]) -> Rejection | None:
    """OpenAI's own errors, which servers repeat that stand before it."""
    error = inner(document)
    if status == 403:
        if error.get("code") == "unsupported_country_region_territory":
            return Rejection(Why.COUNTRY)
        denied = _NO_ACCESS.fullmatch(text(error.get("message")))
        if denied and error.get("code") == "model_not_found":
            return Rejection(Why.MODEL, _error(f"The project {denied[1]}", "invalid_request_error", "model_not_found"))
    if status == 429 and "insufficient_quota" in (error.get("code"), error.get("type")):
        # A gateway like this one says it of a limit.
        return None if error.get("code") == "limit_exceeded" else Rejection(Why.CREDIT)
    return None


def openrouter(status: int, document: dict[str, Any]) -> Rejection | None:
    """A flagged input has its reasons in `metadata`; a key whose own limit is used up gets 403 as well."""
    error = inner(document)
    if status != 403 or error.get("code") != 403:
        return openai(status, document)
    said, metadata = text(error.get("message")), error.get("metadata")
    if said.startswith("Key limit exceeded"):
        return Rejection(Why.CREDIT)
    reasons = metadata.get("reasons") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(reasons, list) or not reasons:
        return None
    if not all(isinstance(each, str) and text(each) and not names_account(each) for each in reasons):
        return None
    if not said or names_account(said):
        said = f"Your input was flagged for {', '.join(reasons)}."
    told: dict[str, Any] = {"reasons": reasons}
    if text(flagged := metadata.get("flagged_input")):  # the client's own words
        told["flagged_input"] = flagged
    told |= {
        name: each
        for name in ("provider_name", "model_slug")
        if (each := text(metadata.get(name))) and not names_account(each)
    }
    return Rejection(Why.INPUT, {"error": {"code": 403, "message": said, "metadata": told}})


def xai(status: int, document: dict[str, Any]) -> Rejection | None:
    """`error` is a text, and `code` says no more than the status. The text names the team and the key."""
    said = document.get("error")
    if not isinstance(said, str):
        return openai(status, document)
    if status in (403, 429) and _XAI_NO_CREDIT.search(said):
        return Rejection(Why.CREDIT)
    if status != 403 or not said.startswith(_XAI_FLAGGED):
        return None
    facts = [found[0] for found in (_XAI_MODEL.search(said), _XAI_CHECK.search(said)) if found]
    told = f"{_XAI_FLAGGED}. {', '.join(facts)}".strip()
    return Rejection(Why.INPUT, {"code": "permission-denied", "error": told})


def groq(status: int, document: dict[str, Any]) -> Rejection | None:
    """A model that the organization or the project has switched off. The text names the project in a URL."""
    error = inner(document)
    code = error.get("code")
    if status == 403 and isinstance(code, str) and code in _GROQ_BLOCKED:
        return Rejection(Why.MODEL, _error(_GROQ_BLOCKED[code], "permissions_error", code))
    return openai(status, document)


def together(status: int, document: dict[str, Any]) -> Rejection | None:
    """It answers 403 to an input that is longer than the model's context."""
    error = inner(document)
    said = _TOO_LONG.match(text(error.get("message")))
    if status == 403 and said:
        return Rejection(Why.INPUT, _error(said[0], "invalid_request_error", None))
    return openai(status, document)


def bedrock(status: int, document: dict[str, Any]) -> Rejection | None:
    error = inner(document)
    if status == 403 and _BEDROCK_NO_ACCESS in (error.get("message"), document.get("message")):
        return Rejection(Why.MODEL, _error(_BEDROCK_NO_ACCESS, "permission_error", None))
    return openai(status, document)


def fireworks(status: int, document: dict[str, Any]) -> Rejection | None:
    """It suspends accounts, which it says with 412."""
    said = text(inner(document).get("message")) or text(document.get("error"))
    if status == 412 and "is suspended, possibly due to reaching the monthly spending limit" in said:
        return Rejection(Why.CREDIT)
    return openai(status, document)


def zai(status: int, document: dict[str, Any]) -> Rejection | None:
    if status == 429 and inner(document).get("code") == "1113":
        return Rejection(Why.CREDIT)
    return openai(status, document)


def azure(status: int, document: dict[str, Any]) -> Rejection | None:
    """Its filters answer with 400; a 403 without a bad key is about the resource."""
    said = text(inner(document).get("message"))
    if status == 403 and said.startswith("Your resource has been temporarily blocked"):
        return Rejection(Why.BLOCKED)
    if status == 403 and said.startswith(
        ("Access denied due to Virtual Network/Firewall rules", "A Virtual Network is configured for this resource")
    ):
        return Rejection(Why.NETWORK)
    return openai(status, document)


def _error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
