"""What a reason code means to an operator: which check of the gateway refused, and what to do about it.

The codes are those of `gateway/errors.py`. What clients are told stands there; this is for the people who run the
gateway. The policies' own verdicts are not here: `gateway explain` shows their rules instead.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Advice(NamedTuple):
    """The check that refused, and the next step."""

    check: str
    step: str


CHECKS: Final[dict[str, Advice]] = {
    "bad_request": Advice(
        "the request was checked before any policy was asked, and could be read in two ways or is not valid",
        "the answer to the client says what is wrong with the request",
    ),
    "duplicate_key": Advice(
        "the body was parsed before any policy was asked, and repeats a key of an object",
        "the client must send each key once",
    ),
    "bad_credentials": Advice("the agent's key was checked before any policy was asked", "see `gateway keys list`"),
    "agent_suspended": Advice(
        "the agent of the key was checked before any policy was asked, and it is suspended",
        "type `gateway agents resume AGENT`",
    ),
    "key_scope": Advice(
        "the scope of the key was checked before any policy was asked, and the call is outside",
        "see `gateway keys list`; make a key for such calls with `gateway keys create AGENT`",
    ),
    "no_policy": Advice(
        "the bindings of the agent were looked up, and no bundle with the effect grant is among them",
        "see `gateway bindings list AGENT`, then type `gateway bind AGENT BUNDLE`",
    ),
    "policy_not_loaded": Advice(
        "the bundles of the agent were looked up, and one of them is not in force or not in memory",
        "see `gateway audit list --kind activation`; if a binding is pinned, `gateway bindings list AGENT` shows where",
    ),
    "foreign_reference": Advice(
        "the policies allow the call, but it names state at the provider that this agent did not create here",
        'if it may use such state, let every granting bundle say `references := "allowed"`',
    ),
    "tool_unapproved": Advice(
        "the policies allow the call, but the tool is new, or its server says something else of it than was approved",
        "look at it, and approve it, or trust the server",
    ),
    "person_required": Advice(
        "the policies allow the call, but its upstream is called on behalf of persons, and the agent acts for none",
        "exchange a token of the person for one of the gateway first, and call with that",
    ),
    "callee_unavailable": Advice(
        "the policies of this side allow the call, but the agent that is called is suspended, stopped or has ended",
        "ask its organization: only that can make it callable again",
    ),
    "callee_refused": Advice(
        "the policies of this side allow the call, but those of the agent that is called do not",
        "give its organization the id of its decision, which the refusal names",
    ),
    "peer_refused": Advice(
        "the request came from another gateway, and no policy was asked: it is not a peer, or may not speak for that "
        "organization, or what it signed is not valid now",
        "look at `gateway peers list`, and compare keys and clocks with its operators",
    ),
    "counterparty_unproven": Advice(
        "the agent that is called is behind another gateway, which gave no valid receipt, so nothing was passed on",
        "compare `gateway peers show NAME` with the keys that its operators hand over",
    ),
    "cross_site": Advice(
        "a page of another site has made a browser ask, so no policy was asked",
        "call from a program, not from a page; a page could reach a gateway on its reader's own machine",
    ),
    "mandate_refused": Advice(
        "the policies of this side allow the call, but not the mandate that it names: it is over or used up, not for "
        "this call or this agent, or its grantor cannot act itself",
        "look at it with `gateway mandates show ID`, or call without the header `Gateway-Mandate`",
    ),
    "approval_required": Advice("a policy requires that a person approves first", "ask for the approval"),
    "unknown_route": Advice(
        "the path was matched before any policy was asked, and no route has it",
        "check the client's base URL: http://HOST:PORT/v1, or /UPSTREAM/v1 as in `gateway upstreams list`",
    ),
    "wrong_method": Advice(
        "the route was matched before any policy was asked, and does not take this method",
        "the answer to the client names the method that it takes",
    ),
    "too_large": Advice(
        "the size was checked before any policy was asked",
        "send less, or raise `max_body_bytes` in gateway.toml",
    ),
    "unsupported_encoding": Advice(
        "the headers were checked before any policy was asked",
        "the client must send what the route takes, JSON in UTF-8 or a form, not compressed",
    ),
    "websocket_refused": Advice(
        "the headers were checked before any policy was asked",
        "the client must use HTTP: most do so by themselves after this answer",
    ),
    "limit_exceeded": Advice(
        "the policies allow the call, but a limit had no room for it",
        "wait until the limit starts anew, or raise it for a while: `gateway limits raise`",
    ),
    "limit_unenforceable": Advice(
        "the policies allow the call, but a limit applies and nothing bounds what the call may use of it",
        "send it without what the reason names, or let the limit estimate it: `gateway limits set … --mode estimate`",
    ),
    "outcome_unrecorded": Advice(
        "the call was made, but its end could not be recorded",
        "see why the log cannot be written: `gateway audit verify`",
    ),
    "upstream_error": Advice(
        "the call was allowed, and the provider could not be reached or broke off",
        "type `gateway upstreams check`, and see the output of `gateway up`",
    ),
    "upstream_unavailable": Advice(
        "the call was allowed, and the provider refuses the gateway itself",
        "type `gateway upstreams check`, which says what to do",
    ),
    "upstream_timeout": Advice(
        "the call was allowed, and the provider did not answer in time", "see `upstream_…_timeout` in gateway.toml"
    ),
    "registry_unavailable": Advice("the registry could not be read", "see the output of `gateway up`"),
    "audit_unavailable": Advice("the log could not be written", "see the output of `gateway up`"),
    "overloaded": Advice(
        "the agent or its organization had its share of what a worker can hold at a time, or all of it was taken",
        "send fewer at once, raise what `detail` names (`max_requests`, `max_held_bytes`, `max_spooled_bytes`), or "
        "give the gateway more workers (`workers`)",
    ),
}
"""For every reason code but the verdicts of policies."""

_KEYS: Final = {
    "missing": Advice("the request had no key", "give the agent's key as api_key, or as `Authorization: Bearer …`"),
    "in_query": Advice("the key was in the URL, where no key is read", "send it in a header, and replace that key"),
    "not_bearer": Advice("the Authorization header is not of the form `Bearer KEY`", "send `Authorization: Bearer …`"),
    "malformed": Advice("what was sent is not a key of this gateway", "use a key that begins with aig_sk_"),
    "operator_key": Advice(
        "an operator's key was sent, which opens nothing here", "use a key that begins with aig_sk_"
    ),
    "unknown": Advice("no key with this id exists", "type `gateway keys create AGENT`"),
    "wrong_secret": Advice("the id of the key exists, but not with this secret", "type `gateway keys create AGENT`"),
    "signature_malformed": Advice(
        "the request is signed, but not in the one form that the gateway reads",
        "see docs/how-to/identity/signatures.md for the form",
    ),
    "signature_expired": Advice(
        "the signature was too old when it arrived", "set the clock of the client, or sign just before sending"
    ),
    "signature_early": Advice("the signature was made in the future", "set the clock of the client"),
    "wrong_signature": Advice(
        "the key is known, but the signature is not of this request",
        "see that nothing between client and gateway changes the method, path, query, Host or digest",
    ),
    "body_differs": Advice(
        "the body is not the one that was signed", "see that nothing between client and gateway changes the body"
    ),
    "replayed": Advice(
        "the signature was used before", "sign each request anew, also a repeated one; if you did: someone replays it"
    ),
    "certificate_malformed": Advice(
        "the client's certificate does not name a workload as SPIFFE does",
        "see docs/how-to/identity/mtls.md for what it must have",
    ),
    "certificate_expired": Advice(
        "the client's certificate had expired", "renew it before it expires, and let the client load the new one"
    ),
    "certificate_early": Advice("the client's certificate is not valid yet", "set the clock of its authority"),
    "unknown_workload": Advice(
        "no agent has the SPIFFE ID in the client's certificate",
        "type `gateway keys add-spiffe --agent AGENT SPIFFE-ID`",
    ),
    "revoked": Advice("the key is revoked", "type `gateway keys create AGENT`"),
    "expired": Advice("the key has expired", "type `gateway keys create AGENT`"),
    "agent_revoked": Advice(
        "the agent of the key is revoked", "if it is to come back: `gateway agents register NAME --replace-revoked`"
    ),
    "agent_retired": Advice("the agent of the key is retired", "register it anew: `gateway agents register NAME`"),
    "agent_expired": Advice(
        "the agent of the key has expired", "type `gateway agents update AGENT --expires 90d`, or `--expires never`"
    ),
    "team_revoked": Advice("the team of the agent is revoked", "register another agent in another team"),
    "organization_revoked": Advice(
        "the organization of the agent is revoked", "create another one: `gateway orgs create NAME`"
    ),
    "pepper_missing": Advice("the file of the pepper that the key was hashed with is missing", "restore keys/pepper.N"),
}


_SUSPENDED: Final = {
    "team_suspended": Advice("the team of the agent is suspended", "type `gateway teams resume TEAM`"),
    "organization_suspended": Advice("the organization of the agent is suspended", "type `gateway orgs resume NAME`"),
    "organization_stopped": Advice(
        "all agents of the organization are stopped", "`gateway status` says why; then `gateway resume --org NAME`"
    ),
    "review_overdue": Advice(
        "nobody has confirmed the agent in time",
        "type `gateway agents review AGENT`, then `gateway agents resume AGENT`",
    ),
    "all_stopped": Advice("all agents are stopped", "`gateway status` says why; then type `gateway resume --all`"),
}


_LEGACY: Final = {
    "legacy_expired": Advice(
        "the call had an old provider key, whose time is over",
        "give the program a key of its own, or type `gateway adopt start` with a later --until",
    ),
    "legacy_revoked": Advice(
        "the call had an old provider key, which was stopped",
        "give the program a key of its own: `gateway keys create AGENT`",
    ),
    "legacy_suspended": Advice(
        "the call had an old provider key, and the agent legacy is suspended", "type `gateway agents resume legacy`"
    ),
    "legacy_other_upstream": Advice(
        "the call had an old provider key, and was to another upstream than the key is for",
        "see `gateway adopt list`, or give the program a key of its own: `gateway keys create AGENT`",
    ),
}


def advice(code: str, detail: str = "") -> Advice | None:
    """The advice for a refusal. `detail` is the log's own word for why a credential was refused."""
    if code == "bad_credentials" and detail in _LEGACY:
        return _LEGACY[detail]
    if code == "bad_credentials" and detail.startswith("legacy_"):
        why = detail.removeprefix("legacy_")  # of its agent, team or organization
        return _SUSPENDED.get(why) or _KEYS.get(why) or CHECKS[code]
    if code == "bad_credentials" and detail in _KEYS:
        return _KEYS[detail]
    if code == "agent_suspended" and detail in _SUSPENDED:
        return _SUSPENDED[detail]
    return CHECKS.get(code)
