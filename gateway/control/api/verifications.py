"""Verification of the whole log by the running gateway, in a process of its own (`audit/verification_runs.py`)."""

from __future__ import annotations

import time

from gateway.audit import verification_runs
from gateway.audit.verification_runs import VerificationRun
from gateway.control.operation import Answer, Ask, Operation, Reasoned
from gateway.control.problems import Problem


@Operation("GET /audit/verification", about="gateway")
def show(ask: Ask) -> Answer[VerificationRun]:
    """Say how far the newest verification of all logs has come, or what it has found."""
    return Answer(body=verification_runs.newest(ask.context.data))


@Operation("POST /audit/verification", tool="begin_audit_verification", about="gateway", changes_nothing=True)
def begin(ask: Ask[Reasoned]) -> Answer[VerificationRun]:
    """Begin to verify all logs as `gateway audit verify` does, unless that is under way."""
    try:
        verification_runs.begin(ask.context.data, time.time_ns())
    except OSError as error:
        detail = f"the verification could not be started: {error.strerror or error}"
        raise Problem(
            503, "not_started", detail, hint="type `gateway audit verify` on the gateway's machine"
        ) from error
    return Answer(body=verification_runs.newest(ask.context.data))
