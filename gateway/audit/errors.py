"""The errors of the audit log: one class with stable codes (pure: imports only `gateway.errors`).

    code               what it means for the caller
    audit_unavailable  nothing is known to be written: fail closed; a retry with the same event id is safe
    bad_entry          this intent can never become an entry (nothing was queued), or this leaf is none
    event_conflict     the event id is in the log already, with different contents
    decision_not_open  a `completed` for a decision that was never recorded as open
    bad_proof          a proof, tile, note or checkpoint is not in its one valid form, or does not verify
    bad_key            a signing or verifier key cannot be read or has the wrong form
    not_signed         the newest checkpoint does not cover this entry yet
    audit_missing      there is no log where one was expected
    audit_exists       a log or key is there already: it is never overwritten
    audit_schema       the database belongs to another program or another version of this one
    audit_damaged      the database contradicts itself; the text names the log and the entry
    unknown_event      no entry has this event id
    ambiguous_event    several event ids begin with this text
    not_a_decision     the entry with this event id is no decision
    signer_refused     signing would contradict what was signed before
    publish_refused    publishing would contradict what was published before, or what was signed
    publish_failed     the place where a log is published cannot be written

Texts follow the rules of `gateway.errors`; `subject` is the log's origin or the event id concerned.
"""

from __future__ import annotations

from gateway.errors import GatewayError


class AuditError(GatewayError):
    """An error of the audit log. `code` is one of the table above."""


def unavailable(detail: str) -> AuditError:
    """The error for a log that cannot be written. The proxy refuses the request with the same code."""
    message = f"the audit log cannot be written: {detail}"
    return AuditError("audit_unavailable", message, hint="try again later", kind="unavailable")
