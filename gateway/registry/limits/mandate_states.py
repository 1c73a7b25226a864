"""The state of a mandate: the part of its amount that is spent, reserved by calls under way, and left."""

from __future__ import annotations

import time

from gateway.audit import balances
from gateway.audit.balance import COUNTERS, MINUTE_NS, unit
from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.registry.records import MandateRecord, MandateState, copied
from gateway.usage import limits


def state(data: DataDirectory, mandate: MandateRecord) -> MandateState:
    """Where a mandate stands by the log, of whichever side asks."""
    with opened_log(data) as db, db.snapshot():
        balance = balances.latest(db).get(mandate.organization, limits.scope("mandate", mandate.id))
    minute = max(time.time_ns() // MINUTE_NS, balance.minute)
    used, reserved = balance.at(COUNTERS[limits.MANDATE_SPEND], minute)
    units = unit(limits.MANDATE_SPEND)
    return copied(
        MandateState,
        mandate,
        spent_microusd=-(-(used - reserved) // units),
        reserved_microusd=-(-reserved // units),
        left_microusd=max(0, (mandate.amount_microusd * units - used) // units),
    )
