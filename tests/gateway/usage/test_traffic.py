"""Traffic by hour and day: each request once, under the names that it belongs to, however far the sums have come."""

from __future__ import annotations

from gateway.audit.log_files import opened_log
from gateway.usage import rollup
from gateway.usage.traffic import DAY, HOUR

from .conftest import NS, Call, Log

MORNING = 1_790_000_000 // DAY * DAY + 9 * HOUR


def test_each_request_counts_once_and_pages_read_what_there_is(log: Log) -> None:
    log.add([Call(MORNING * NS, cost=700), Call((MORNING + HOUR) * NS, cost=None), Call(MORNING * NS, model="o1")])
    log.add([Call((MORNING + DAY) * NS, organization="acme", agent="agt_2", cost=1)])
    log.refuse((MORNING + 1) * NS, "decided")
    log.refuse((MORNING + 2) * NS, "decided", dry_run=True)
    log.refuse((MORNING + 3) * NS, "refused", "system", agent=None, reason="invalid_key", count=40)
    cache = log.data.cache
    with rollup.as_kept(cache) as none:
        assert none is None
    with opened_log(log.data) as db:
        for done in (4, 8, 11, 11):
            rollup.advance(cache, db, 4)
            with rollup.as_kept(cache) as sums:
                assert sums is not None
                assert sums.reached(db) == (done, 11)
    with rollup.as_kept(cache) as sums:
        assert sums is not None
        until = MORNING + 2 * DAY
        midnight = MORNING - 9 * HOUR
        assert sums.traffic(HOUR, MORNING, until, organization="default") == [
            (MORNING, "denied", "policy_denied", 1, 0, 0, 0),
            (MORNING, "ended", "ok", 2, 20, 10, 1700),
            (MORNING + HOUR, "ended", "ok", 1, 10, 5, 0),
        ]
        assert sums.traffic(DAY, midnight, until) == [
            (midnight, "denied", "policy_denied", 1, 0, 0, 0),
            (midnight, "ended", "ok", 3, 30, 15, 1700),
            (midnight, "refused", "invalid_key", 40, 0, 0, 0),
            (midnight + DAY, "ended", "ok", 1, 10, 5, 1),
        ]
        of_agent = sums.traffic(HOUR, MORNING, MORNING + HOUR, organization="default", agent="agt_1")
        assert [each.requests for each in of_agent] == [1, 2]
        of_model = sums.traffic(DAY, midnight, until, organization="default", model="o1")
        assert of_model == [(midnight, "ended", "ok", 1, 10, 5, 1000)]
        assert sums.traffic(DAY, midnight, until, organization="acme", model="o1") == []
