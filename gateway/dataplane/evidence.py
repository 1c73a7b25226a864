"""The two entries that the log keeps of a call: `decided` and `completed`.

This file gives each fact its name. `gateway/dataplane/proxy.py` decides when the entries are written and what happens
if they cannot be; `gateway/audit/` turns them into leaves. Bodies do not enter the log, only their salted commitments.
Specification: architecture.md, section 10.
"""

from __future__ import annotations

import hashlib
import hmac
import time

import orjson

from gateway.audit.balance import Amounts
from gateway.audit.content import Sealed
from gateway.audit.entry import MAX_INTEGER, commitment, document
from gateway.audit.halves_check import CALLEE, DIRECTION, GRANTOR, OTHER_DECISION, Side
from gateway.audit.intents import Completed, Decided, Fields
from gateway.body import Body
from gateway.call import COUNTS, Usage
from gateway.dataplane import budget
from gateway.dataplane.phases import Carried, Judged, Mandated, Received
from gateway.identity.peers import Asserted
from gateway.identity.principals import Principal
from gateway.upstream.routing import Choices

_DETAIL = 1000  # characters of an explanation; a string of the log has at most 4 KiB
_MAX_CREATED = 64


def decided(judged: Judged) -> Decided:
    """The decision on this call. It is open if the request will be forwarded."""
    if judged.admitted.request.assertion is not None:
        assert judged.received is not None
        return _received(judged, judged.received, judged.admitted.request.assertion)
    admitted, reading, authorization, keeping = judged.admitted, judged.reading, judged.authorization, judged.keeping
    principal, request, call, requested = admitted.principal, admitted.request, reading.call, reading.models
    fields: dict[str, str | int | bool | None] = {
        "agent_name": principal.name,
        "agent_version": principal.version,
        "team": principal.team,
        "environment": principal.environment,
        "credential_method": principal.method,
        "credential_strength": principal.strength,
        "action": call.action,
        "upstream": call.upstream,
        "provider": call.provider,
        "model": requested[0] if requested else None,
        "method": call.method,
        "path": reading.path,
        "stream": call.stream,
        **authorization.fields(),
        "request_bytes": len(request.received),
        "request_commitment": _commitment(admitted.salt, "request_body", request.received),
    }
    if principal.token is not None:
        fields["token"] = principal.token.id
        if delegation := principal.document["delegation"]:
            fields["delegation_json"] = document(delegation)
        if (person := principal.token.person) is not None:
            # Only the private input names the person.
            fields["person_right"] = person.right
            fields["person_commitment"] = _commitment(admitted.salt, "person", person.subject.encode())
    if principal.scope is not None:
        fields["key_scope_json"] = principal.scope.text
        if principal.scope.networks:
            fields["peer_address"] = request.peer
    if len(requested) > 1:
        fields["models_json"] = document(requested)
    if call.models != requested:
        fields["forwarded_model"] = call.model
    if call.stores:
        fields["stores"] = True
    if judged.approval_commitment:
        fields["approval"], fields["approval_commitment"] = judged.approval, judged.approval_commitment
        if judged.pattern_commitment:
            fields["pattern_commitment"] = judged.pattern_commitment
    elif judged.approval:
        fields["denied_approval"] = judged.approval
    if request.user_agent:
        fields["user_agent"] = request.user_agent
    if request.trace_id:
        fields["trace_id"] = request.trace_id
    if reading.edits:
        fields["edits_json"] = document(reading.edits)
        fields["forwarded_commitment"] = _commitment(admitted.salt, "forwarded_body", call.raw)
    if judged.shadow:
        fields["shadow_json"] = judged.shadow
    if judged.output_limit is not None:
        fields["output_limit"] = judged.output_limit
    if isinstance(admitted.found, Choices):
        fields["route"] = admitted.found.pool
    if admitted.retry_of:
        fields["attempt"], fields["retry_of"] = admitted.attempt, admitted.retry_of
    if request.joined_as is not None:
        fields["joined"] = True
        if request.joined_as:
            fields["joined_as"] = request.joined_as
    content: Sealed | None = None
    private = authorization.kept_input
    if keeping is not None:
        content, members = keeping.request(call.raw)
        fields |= members
        if keeping.whole and "unkept_json" in fields:
            # The log keeps the content that the bundles read, exactly as they read it.
            del fields["unkept_json"]
            fields["recomputable"] = not authorization.left_out
        private = keeping.settings(private)
        if private is not authorization.kept_input:
            unkept = [*orjson.loads(str(fields.get("unkept_json", "[]"))), "resource.params"]
            fields["recomputable"], fields["unkept_json"] = False, document(unkept)
    if call.tool is not None:
        proposal = call.tool.proposed_by
        fields["proposed_by"] = None if proposal is None else proposal["decision"]
        if proposal is not None and not proposal["same_arguments"]:
            fields["proposed_otherwise"] = True
    if call.agent is not None:
        callee = call.agent
        if admitted.match.destination.remote is None:
            fields["callee"] = callee["id"]
        fields |= {"callee_organization": callee["organization"], "callee_name": callee["name"]}
    if judged.received is not None:
        fields[CALLEE.decision] = judged.received.decision_id
    if judged.mandated is not None:
        mandate = judged.mandated.mandate
        grantor = mandate.grantor
        fields |= {
            "mandate": mandate.id,
            GRANTOR.organization: grantor.organization,
            GRANTOR.agent: grantor.agent_id,
            GRANTOR.name: grantor.name,
            GRANTOR.decision: judged.mandated.decision_id,
        }
    return Decided(
        organization=principal.organization,
        event_id=admitted.observed.decision_id,
        agent=principal.agent_id,
        key=principal.key_id,
        allow=authorization.allow,
        reason=authorization.code,
        reasons=authorization.reasons,
        open=authorization.allow,
        epoch=admitted.epochs.value,
        fields=fields,
        private=private,
        salt=admitted.salt,
        content=content,
        reservation=judged.reservation,
        others=(
            *(() if judged.received is None else [_received(judged, judged.received)]),
            *(() if judged.mandated is None else [_mandated(judged, judged.mandated)]),
        ),
    )


def _received(judged: Judged, received: Received, asserted: Asserted | None = None) -> Decided:
    """The decision of the other side of a call to an agent. It tells who calls, and nothing of that side's policies.

    If the caller's gateway is another one, its assertion says so, and its log has the other decision.
    """
    admitted, call, callee, found = judged.admitted, judged.reading.call, received.callee, received.authorization
    request = admitted.request
    fields: dict[str, str | int | bool | None] = {
        **_side(CALLEE, judged, callee),
        OTHER_DECISION: admitted.observed.decision_id if asserted is None else asserted.assertion.decision,
        "action": call.action,
        "upstream": call.upstream,
        "provider": call.provider,
        "model": None,
        "method": call.method,
        "path": judged.reading.path,
        "stream": call.stream,
        **found.fields(),
        "request_bytes": len(request.received),
        "request_commitment": _commitment(received.salt, "request_body", request.received),
    }
    if asserted is not None:
        fields |= {"peer": admitted.principal.key_id, "assertion": asserted.text}
    return Decided(
        organization=callee.organization,
        event_id=received.decision_id,
        agent=callee.agent_id,
        key=None,
        allow=found.allow,
        reason=found.code,
        reasons=found.reasons,
        open=found.allow,
        epoch=admitted.epochs.value,
        fields=fields,
        private=found.kept_input,
        salt=received.salt,
        reservation=received.reservation,
    )


def _side(side: Side, judged: Judged, whose: Principal) -> dict[str, str | int | bool | None]:
    """The members of the decision of another side, about an agent of its own, that say who calls and who that is."""
    caller = judged.admitted.principal
    return {
        DIRECTION: side.direction,
        "caller": caller.agent_id,
        "caller_organization": caller.organization,
        "caller_name": caller.name,
        OTHER_DECISION: judged.admitted.observed.decision_id,
        "agent_name": whose.name,
        "agent_version": whose.version,
        "team": whose.team,
        "environment": whose.environment,
    }


def _mandated(judged: Judged, mandated: Mandated) -> Decided:
    """The decision in the log of who has granted a mandate: what is done under it, and nothing of policies or content.

    Its policies were not asked: the mandate is its word. Its limits are, in the transaction.
    """
    call, mandate = judged.reading.call, mandated.mandate
    allow, grantor = judged.authorization.allow, mandate.grantor
    return Decided(
        organization=grantor.organization,
        event_id=mandated.decision_id,
        agent=grantor.agent_id,
        key=None,
        allow=allow,
        reason=judged.authorization.code,
        open=allow,
        epoch=judged.admitted.epochs.value,
        fields={
            **_side(GRANTOR, judged, grantor),
            "mandate": mandate.id,
            "action": call.action,
            "provider": call.provider,
            "model": call.model,
            "recomputable": False,
        },
        salt=mandated.salt,
        reservation=mandated.reservation,
    )


def completed(carried: Carried, outcome: str) -> Completed:
    """The end of a call that was let through."""
    observed = carried.admitted.observed
    report, usage = observed.report, observed.report.usage
    fields: dict[str, str | int | bool | None] = {
        "upstream_status": observed.upstream_status,
        "response_bytes": carried.response_bytes,
        "duration_us": (time.monotonic_ns() - observed.started_ns) // 1000,
    }
    if observed.first_byte_ns is not None:
        fields["first_byte_us"] = (observed.first_byte_ns - observed.started_ns) // 1000
    if carried.response_commitment is not None:
        fields["response_commitment"] = carried.response_commitment
    if report.model is not None:
        fields["response_model"] = report.model
    if report.created:
        created = [{"kind": each.kind, "id": each.id} for each in report.created[:_MAX_CREATED]]
        fields["created_json"] = document(created)
    if usage is not None:
        fields["cached_tokens"] = usage.cached
        fields["reasoning_tokens"] = usage.reasoning
        if usage.cache_write:
            fields["cache_write_tokens"] = usage.cache_write
        if usage.audio_input or usage.audio_output:
            fields["audio_input_tokens"], fields["audio_output_tokens"] = usage.audio_input, usage.audio_output
        if usage.image_input or usage.image_output:
            fields["image_input_tokens"], fields["image_output_tokens"] = usage.image_input, usage.image_output
        if usage.cache_write_1h:
            fields["cache_write_1h_tokens"] = usage.cache_write_1h
        if usage.video_input or usage.video_output:
            fields["video_input_tokens"], fields["video_output_tokens"] = usage.video_input, usage.video_output
    if report.seconds is not None:
        fields["audio_seconds"] = report.seconds
    if carried.timeout:
        fields["timeout"] = carried.timeout
    if report.images is not None:
        fields["images"] = report.images
    if report.service_tier is not None:
        fields["service_tier"] = report.service_tier
    if report.region is not None:
        fields["region"] = report.region
    if report.tools:
        fields["tools_used_json"] = document(report.tools)
    if report.further:
        fields["further_json"] = document([_further(model, each) for model, each in report.further[:_MAX_CREATED]])
    if observed.cost_nanousd is not None:
        fields["cost_nanousd"], fields["price"] = observed.cost_nanousd, observed.price
    if (part := budget.of_what_came(carried, outcome)) is not None:
        fields["came_tokens"], fields["margin_tokens"] = part.came, part.margin
    if carried.misreported:
        fields["misreported"], fields["reported_json"] = carried.misreported, carried.reported
    if carried.proof is not None:
        fields |= _told(carried)
    if carried.detail:
        fields["detail"] = carried.detail[:_DETAIL]
    content: Sealed | None = None
    if carried.keeping is not None:
        content, members = carried.keeping.answer()
        fields |= members
    for name, value in fields.items():
        # Providers report any numbers, and sums of them are larger still.
        if value.__class__ is int and value > MAX_INTEGER:
            fields[name] = MAX_INTEGER
    whose, others = carried.admitted.principal, carried.others
    if others:
        whose, others = _sides(carried)
    return Completed(
        organization=whose.organization,
        decision_id=observed.decision_id,
        agent=whose.agent_id,
        outcome=outcome,
        status=observed.status,
        input_tokens=None if usage is None else min(usage.input, MAX_INTEGER),
        output_tokens=None if usage is None else min(usage.output, MAX_INTEGER),
        settled=budget.settled(carried, outcome),
        epoch=carried.admitted.epochs.value,
        fields=fields,
        content=content,
        others=_ends(others, carried, outcome, {"duration_us": fields["duration_us"]}, budget.settled(carried, outcome))
        if others
        else (),
    )


def _told(carried: Carried) -> dict[str, str | int | bool | None]:
    """The word of another gateway about the decision of its side."""
    if (proof := carried.proof) is None:
        return {}
    said = {"assertion": proof.assertion, "receipt": proof.receipt}
    return {**said, "other_decision": proof.decision, "other_leaf": proof.leaf}


def _sides(carried: Carried) -> tuple[Principal, tuple[tuple[str, Principal], ...]]:
    """The agent whose decision this is, and the decisions of other sides that are in a log here.

    The log of a caller behind another gateway is there.
    """
    if carried.admitted.request.assertion is not None and carried.others:
        return carried.others[0][1], ()
    return carried.admitted.principal, carried.others


def _ends(
    others: tuple[tuple[str, Principal], ...],
    carried: Carried,
    outcome: str,
    fields: Fields,
    settled: Amounts | None = None,
) -> tuple[Completed, ...]:
    """The ends of the decisions of other sides, settled at what the caller is charged."""
    return tuple(
        Completed(
            organization=whose.organization,
            decision_id=decision_id,
            agent=whose.agent_id,
            outcome=outcome,
            status=carried.admitted.observed.status,
            settled=settled,
            epoch=carried.admitted.epochs.value,
            fields=fields,
        )
        for decision_id, whose in others
    )


def _further(model: str | None, usage: Usage) -> dict[str, object]:
    """A call of the provider's own to a model, whose tokens are in the whole. None is the one that answers."""
    named = {} if model is None else {"model": model}
    counts = {name: getattr(usage, name) for name in COUNTS}
    return {**named, **{f"{name}_tokens": min(value, MAX_INTEGER) for name, value in counts.items() if value}}


def bare(carried: Carried, outcome: str, why: str) -> Completed:
    """The same without anything of the answer, if no entry can hold that: the decision must be closed all the same."""
    admitted, (whose, others) = carried.admitted, _sides(carried)
    return Completed(
        organization=whose.organization,
        decision_id=admitted.observed.decision_id,
        agent=whose.agent_id,
        outcome=outcome,
        status=admitted.observed.status,
        epoch=admitted.epochs.value,
        fields={"detail": f"the rest of this entry could not be made: {why}"[:_DETAIL], **_told(carried)},
        others=_ends(others, carried, outcome, {}),
    )


class BodyDigest:
    """`commitment(salt, name, body)` of a body that comes in pieces and is not kept."""

    __slots__ = ("_first", "_hmac", "_name", "_salt")

    def __init__(self, salt: bytes, name: str) -> None:
        self._salt, self._name = salt, name
        # Most answers come in one piece, and for one there is a function that costs a third.
        self._first: bytes | None = None
        self._hmac: hmac.HMAC | None = None

    def update(self, chunk: bytes) -> None:
        if self._hmac is not None:
            self._hmac.update(chunk)
        elif self._first is None:
            self._first = chunk
        else:
            self._hmac = hmac.new(self._salt, self._name.encode() + b"\x00" + self._first, hashlib.sha256)
            self._hmac.update(chunk)
            self._first = None

    def hexdigest(self) -> str:
        if self._hmac is not None:
            return self._hmac.hexdigest()
        return commitment(self._salt, self._name, self._first or b"")


def _commitment(salt: bytes, name: str, body: Body) -> str:
    if isinstance(body, bytes):
        return commitment(salt, name, body)
    digest = BodyDigest(salt, name)
    for window in body.windows():
        digest.update(window)
    return digest.hexdigest()
