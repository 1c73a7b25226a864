"""The one error family of the gateway, and the closed list of reason codes.

    GatewayError               a command, a start or a change cannot be done; `code` is stable, the text is for a person
    ├── NotFoundError          what it names is not there; `UnknownError` if nothing has that name
    ├── ConflictError          things are such that it cannot be done, however it is asked for
    ├── ForbiddenError         this caller may not
    ├── UnavailableError       it may be possible later
    └── Denied                 a request on the data plane is refused; `code` is one of `REASONS`

Packages derive their own classes from `GatewayError` where a caller must tell them apart. Texts start in lower case and
end without a period, so that they can stand inside a sentence; `hint` says what to do next. Nothing secret may be put
into either: both are printed, and `Denied.detail` goes to the audit log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias

Kind: TypeAlias = Literal["invalid", "not_found", "conflict", "forbidden", "unavailable"]
"""The kind of an error, from which the control API takes its status."""


class Hint(str):
    """The next step, which names commands or options; `api` says it in the words of the control API, or is empty."""

    __slots__ = ("api",)

    def __new__(cls, text: str, *, api: str = "") -> Self:
        made = super().__new__(cls, text)
        made.api = api
        return made

    api: str


class GatewayError(Exception):
    """Something the gateway was asked to do cannot be done.

    `code` is a stable string, `message` one line for a person, `subject` the id or name of the thing concerned if there
    is one, and `hint` what to do next ("" where it is obvious; a `Hint` where not everybody can do that).
    """

    kind: Kind = "invalid"

    def __init__(
        self, code: str, message: str, *, subject: str | None = None, hint: str = "", kind: Kind | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.subject = subject
        self.hint = hint
        if kind is not None:
            self.kind = kind

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class NotFoundError(GatewayError):
    """The thing that is asked for is not there."""

    kind = "not_found"


class UnknownError(NotFoundError):
    """No thing has that name or id. `thing` is the noun in the singular; the code is made of it."""

    def __init__(self, thing: str, message: str, *, subject: str | None = None, hint: str = "") -> None:
        super().__init__(f"unknown_{thing}", message, subject=subject, hint=hint)
        self.thing = thing


class ConflictError(GatewayError):
    """Refused because of how things are, not because of how it was asked for."""

    kind = "conflict"


class ForbiddenError(GatewayError):
    """Refused because of who asks."""

    kind = "forbidden"


class UnavailableError(GatewayError):
    """Something that is needed cannot be used at the moment."""

    kind = "unavailable"


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that names the known name closest to a mistyped one, or `otherwise` if none is close."""
    by_folded = {each.casefold(): each for each in known}
    typed = name[:_LONGEST_NAME].casefold()
    close = difflib.get_close_matches(typed, by_folded, n=1, cutoff=0.7)
    # In a short name, two letters that changed places are a large part.
    close = close or [each for each in by_folded if len(each) > 2 and sorted(each) == sorted(typed)]
    return f"did you mean `{by_folded[close[0]]}`?" if close else otherwise


class Reason(NamedTuple):
    """The client's answer for one reason code.

    `retry` says whether it may help to wait and try again. If not, the answer has `x-should-retry: false`, because SDKs
    retry 429 and 5xx on their own.
    """

    code: str
    status: int
    retry: bool
    message: str


REASONS: dict[str, Reason] = {
    reason.code: reason
    for reason in (
        Reason("bad_request", 400, False, "the request is malformed"),
        Reason("duplicate_key", 400, False, "the request body repeats a key of an object"),
        # `TOLD` says more, as far as the client may know.
        Reason("bad_credentials", 401, False, "the credentials are missing or not valid"),
        Reason(
            "cross_site", 403, False, "the request comes from the page of another site, which may call no tools here"
        ),
        Reason("agent_suspended", 403, False, "this agent is suspended until its operator resumes it"),
        Reason("key_scope", 403, False, "this key is not for such a request"),
        Reason("policy_denied", 403, False, "a policy denies this request"),
        Reason("no_policy", 403, False, "no policy is bound to this agent that could allow the request"),
        Reason("policy_undefined", 403, False, "a policy gave no answer for this request"),
        Reason("policy_error", 403, False, "a policy failed while judging this request"),
        Reason("policy_deadline", 403, False, "a policy took too long to judge this request"),
        Reason("policy_bad_decision", 403, False, "a policy gave an answer that is not a decision"),
        Reason("policy_unsupported", 403, False, "a policy asks for something that this gateway cannot enforce"),
        Reason("limit_unenforceable", 403, False, "a limit applies that cannot be held for this request"),
        Reason("foreign_reference", 403, False, "the request refers to something this agent did not create here"),
        Reason("tool_unapproved", 403, False, "this tool of the MCP server is not approved"),
        Reason("person_required", 403, False, "this upstream is called on behalf of persons only"),
        Reason("callee_unavailable", 403, False, "the agent that is called cannot be called now"),
        Reason("mandate_refused", 403, False, "the mandate that the request names does not let it through"),
        Reason("callee_refused", 403, False, "the agent that is called does not take this request"),
        Reason("peer_refused", 403, False, "this gateway does not take that from the gateway of the caller"),
        Reason("approval_required", 403, False, "a person must approve this request first"),
        Reason("unknown_route", 404, False, "there is no such route"),
        Reason("wrong_method", 405, False, "the route does not take this method"),
        Reason("too_large", 413, False, "the request is too large"),
        Reason(
            "unsupported_encoding",
            415,
            False,
            "the request body must be what the route takes (JSON in UTF-8, or a form), not compressed",
        ),
        # Codex asks for a WebSocket first. After this status it goes on over HTTP, after any other it gives up.
        Reason("websocket_refused", 426, False, "there is no WebSocket here: the API is served over HTTP/1.1"),
        # Waiting helps only if the limit has room again soon: each refusal says so itself.
        Reason("limit_exceeded", 429, True, "a limit has no room for this request"),
        # The provider has carried the request out: a client that sent it again would have it done twice.
        Reason("outcome_unrecorded", 500, False, "the request was carried out, but its outcome could not be recorded"),
        Reason("upstream_error", 502, True, "the upstream could not be reached or broke off"),
        # The upstream refuses the gateway's own credential, or the gateway cannot use it: only the log says so.
        Reason("upstream_unavailable", 502, False, "the gateway cannot reach the provider until its operator acts"),
        Reason(
            "counterparty_unproven", 502, False, "the gateway of the agent that is called has not proved its answer"
        ),
        Reason("registry_unavailable", 503, True, "the registry cannot be read"),
        Reason("audit_unavailable", 503, True, "the audit log cannot be written"),
        Reason("policy_not_loaded", 503, True, "the policy revision in force is not loaded yet"),
        Reason("overloaded", 503, True, "the gateway is overloaded"),
        Reason("upstream_timeout", 504, True, "the upstream did not answer in time"),
    )
}
"""The closed list of architecture.md, section 15. A code that is not here cannot leave the gateway."""


_UNKNOWN = "no agent of this gateway has what was sent"
_ENDED = "its agent has ended, or may call nothing any more: ask its operator"

TOLD: dict[str, str] = {
    "missing": "no key was sent; send it as `authorization: Bearer KEY`, or in the header of the provider's own client",
    "not_bearer": "the header `authorization` must be `Bearer KEY`",
    "malformed": "what was sent is no key of this gateway, or not all of one; keys begin with `aig_sk_`",
    "operator_key": "this is an operator's token; an agent needs a key of its own",
    # A client that does not prove a secret must not learn if there is one. So these have one text.
    **dict.fromkeys(
        ("unknown", "wrong_secret", "pepper_missing", "wrong_signature", "unknown_workload", "unknown_peer"), _UNKNOWN
    ),
    # Only whoever has proved the secret gets as far as these.
    "expired": "what was sent has expired: ask for another key, or get another token",
    "revoked": "what was sent was revoked: ask for another key",
    **dict.fromkeys(
        ("agent_revoked", "agent_retired", "agent_expired", "team_revoked", "organization_revoked"), _ENDED
    ),
    "delegator_dead": "an agent on whose behalf this token acts can have nobody act for it any more",
    "person_right_ended": "this agent may act for the person of this token no more",
    # Anybody can check these of a token with the gateway's public keys.
    **dict.fromkeys(
        (f"token_{fault}" for fault in ("malformed", "header_member", "algorithm", "issuer", "claims", "unknown_key")),
        "what was sent is no token that this gateway has given out: get one at `/oauth/token`",
    ),
    "token_signature": "the token's signature is not right: it was changed, cut short or given out elsewhere",
    "token_type": "this token is for an exchange at `/oauth/token`, and not for requests",
    "token_audience": "this token is for something else than requests to this gateway",
}
"""A client reads this of its credential, by the detail of a `bad_credentials` that gives no reasons of its own."""

_ALIKE = frozenset(detail for detail, text in TOLD.items() if text == _UNKNOWN)


def looks_like(detail: str) -> str:
    """The detail as which a client sees one: those that it must not tell apart, by text, id or time, are one.

    A provider's key that was adopted once looks like any text that is no key of this gateway.
    """
    if detail in _ALIKE:
        return "unknown"
    return "malformed" if detail.startswith("legacy_") else detail


_MAX_REASONS = 4000
# Comparing names takes time that grows with their lengths, and no name is longer than this.
_LONGEST_NAME = 80


class PrincipalHint(NamedTuple):
    """The agent that asked, if it is known: refusing a dead key is recorded in the log of its organization."""

    organization: str
    agent_id: str
    key_id: str
    # The agent's, for metrics; empty where it was not read.
    name: str = ""

    @classmethod
    def of(cls, holder: _Holder) -> PrincipalHint:
        """The hint of a principal, or of the row of a credential."""
        return cls(holder.organization, holder.agent_id, holder.key_id, holder.name)


class _Holder(Protocol):
    @property
    def organization(self) -> str: ...
    @property
    def agent_id(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def name(self) -> str: ...


class Denied(GatewayError):
    """A request on the data plane is refused.

    The client gets the code, status and text of the reason, and `reasons` (what the policies say). Only the log gets
    `detail` ("revoked", "unknown", the text of an engine error) and `principal_hint`. `headers` are further ones of the
    answer, such as the `Allow` of HTTP's 405. `retry` replaces what the reason says about waiting, and `facts` are for
    programs: they stand beside the message in the provider's shape. `decision` is the id of the recorded decision, once
    there is one, `counted` that of the entry in which a denial is only counted, and `refusal` that of the entry about a
    credential: a developer sees the text of an exception and no headers. `message_id` and `as_answer` are as in `Call`.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        reasons: Iterable[str] = (),
        principal_hint: PrincipalHint | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        retry: bool | None = None,
        facts: Any = None,
    ) -> None:
        self.reason = REASONS[code]
        self.retry = self.reason.retry if retry is None else retry
        self.facts = facts
        self.decision = self.counted = self.refusal = ""
        self.message_id: str | int | None = None
        self.as_answer = False
        super().__init__(code, self.reason.message)
        self.detail = detail
        self.reasons = tuple(reasons)
        self.principal_hint = principal_hint
        self.headers = tuple(headers)

    @property
    def text(self) -> str:
        """The text for the client. Policies may give any number of reasons, and nobody can read an endless text."""
        told = self.reasons
        if not told and self.code == "bad_credentials" and (known := TOLD.get(looks_like(self.detail))):
            told = (known,)
        reasons = f": {'; '.join(told)[:_MAX_REASONS]}" if told else ""
        decision = f" (decision {self.decision})" if self.decision else ""
        if self.counted:
            decision = f" (one of several counted in {self.counted})"
        if self.refusal:
            decision = f" (refusal {self.refusal})"
        return f"{self.message}{reasons}{decision}"
