"""The closed list of reason codes, and what errors do not say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gateway.errors import REASONS, Denied, GatewayError, PrincipalHint

CODES = {
    400: "bad_request duplicate_key",
    401: "bad_credentials",
    403: "agent_suspended key_scope policy_denied no_policy policy_undefined policy_error policy_deadline "
    "policy_bad_decision policy_unsupported limit_unenforceable foreign_reference tool_unapproved "
    "person_required callee_unavailable callee_refused mandate_refused peer_refused cross_site approval_required",
    404: "unknown_route",
    405: "wrong_method",
    413: "too_large",
    415: "unsupported_encoding",
    426: "websocket_refused",
    429: "limit_exceeded",
    500: "outcome_unrecorded",
    502: "upstream_error upstream_unavailable counterparty_unproven",
    503: "registry_unavailable audit_unavailable policy_not_loaded overloaded",
    504: "upstream_timeout",
}


_FINAL = {"upstream_unavailable", "counterparty_unproven"}


def test_the_list_is_closed() -> None:
    listed = {code: status for status, codes in CODES.items() for code in codes.split()}
    assert {code: reason.status for code, reason in REASONS.items()} == listed


def test_only_what_waiting_can_cure_may_be_retried() -> None:
    passing = {code for status in (429, 502, 503, 504) for code in CODES[status].split()} - _FINAL
    assert {code for code, reason in REASONS.items() if reason.retry} == passing


@pytest.mark.parametrize("reason", REASONS.values(), ids=lambda reason: reason.code)
def test_texts_fit_into_a_sentence(reason: object) -> None:
    message = reason.message  # type: ignore[attr-defined]  # the parameter's type is pytest's business
    assert message[0].islower()
    assert not message.endswith(".")


def test_a_denial_shows_its_public_text_only() -> None:
    hint = PrincipalHint("default", "agt_1", "key_1")
    denied = Denied("bad_credentials", "revoked", principal_hint=hint)
    assert str(denied) == "bad_credentials: the credentials are missing or not valid"
    assert (denied.detail, denied.principal_hint, denied.reason.status) == ("revoked", hint, 401)
    assert isinstance(denied, GatewayError)
    denied.decision = "dec_1"
    public = "the credentials are missing or not valid: what was sent was revoked: ask for another key"
    assert denied.text == f"{public} (decision dec_1)"
    assert str(denied) == "bad_credentials: the credentials are missing or not valid"


def test_an_unlisted_code_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        Denied("because")


def test_a_hint_that_names_commands_is_marked_as_one() -> None:
    """The control API leaves those out, or says them in its own words. Only commands may hold such texts unmarked."""
    folder = Path(__file__).parents[2] / "gateway"
    rooms = ("registry", "audit", "usage", "identity", "webhooks", "policy")
    found = []
    for path in (path for room in rooms for path in sorted((folder / room).rglob("*.py"))):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        hints = [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "hint"]
        found += [f"{path.relative_to(folder)}:{hint.lineno}" for hint in hints if _UNMARKED.search(ast.unparse(hint))]
    assert found == []


_UNMARKED = re.compile(r"^(?!.*Hint\().*(`gateway |--\w)", re.DOTALL)
