"""The part of a commit's check that looks at past calls: more of them than its message accepts must not end otherwise.

The message accepts them in a line `Impact-Accepts: 12`, or `Impact-Accepts: all`. Without it none may. Kept content is
not opened for this, so what depends on it is not among the flips.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import Final

from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.policy.bundle import Files
from gateway.policy.rollout import impact
from gateway.policy.rollout.check import CommitProblem

_ACCEPTS: Final = re.compile(r"^Impact-Accepts:[ \t]*([0-9]{1,12}|all)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_DAY_NS: Final = 24 * 3600 * 10**9


def accepted(message: str) -> int | None:
    """The flips that a commit's message accepts; None for any number. The last line of that kind counts."""
    found = _ACCEPTS.findall(message)
    if not found:
        return 0
    return None if found[-1].lower() == "all" else int(found[-1])


def problem(
    data: DataDirectory,
    bundles: Mapping[str, Files],
    commit: str,
    message: str,
    days: int,
    stop: threading.Event | None = None,
) -> CommitProblem | None:
    """The reason why a commit may not come into force, if its impact on the calls of so many days is one. Blocks.

    Raises `GatewayError` (`check_stopped`) soon after `stop` is set.
    """
    limit = accepted(message)
    if limit is None:
        return None
    scope = impact.Scope(since_ns=time.time_ns() - days * _DAY_NS)
    try:
        with opened_log(data) as log, log.snapshot():
            found = impact.report(
                log, data.bundles, bundles, commit, scope=scope, complete=lambda row: row, listed=0, stop=stop
            )
    except GatewayError as error:
        if error.code == "check_stopped":
            raise
        return CommitProblem("check_failed", "", f"its impact is not known: {error.message}")
    if found["flips"] <= limit:
        return None
    changes = ", ".join(f"{each['before']} to {each['after']}: {each['count']:,}" for each in found["kinds"])
    detail = f"{found['flips']:,} calls of the last {days} days would have ended otherwise ({changes})"
    detail += f", and the commit's message accepts {limit:,}"
    hint = f"see `gateway policies impact {commit[:12]} --since {days}d`; if it is meant, commit it with a line "
    return CommitProblem("impact", "", detail, hint=hint + f"`Impact-Accepts: {found['flips']}` in the message")
