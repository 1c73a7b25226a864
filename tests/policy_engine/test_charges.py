"""What a decision is charged does not depend on what other decisions have made before it.

Documents, tables and code are kept between decisions. A decision that finds them is charged what the one that made them
was charged, or it would pass a budget that it did not pass the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from policy_engine import engine
from policy_engine.codegen.context import LEFT, RUN, SLICE, START, first_slice
from tests.policy_engine.language.test_language import CASES as LANGUAGE
from tests.policy_engine.language.test_language import without_remarks
from tests.policy_engine.test_conformance import CASES

Ask = Callable[[], Any]


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The contexts that decisions without an entry have used."""
    seen: list[Any] = []
    evaluated = engine._evaluated

    def watched(function: Any, query: Any) -> Any:
        seen.append(query)
        return evaluated(function, query)

    monkeypatch.setattr(engine, "_evaluated", watched)
    yield seen


def steps(query: Any) -> int:
    """The steps that were charged to a context and all that were derived from it."""
    limits, run = query[START][2], query[RUN]
    if run is None:
        return first_slice(limits) - query[LEFT]
    return limits.work - (run.work - min(SLICE, run.work) + run.left + query[LEFT])


def cost(contexts: list[Any], ask: Ask) -> tuple[Any, int]:
    """The answer, or the code of the error, and the steps that were charged."""
    contexts.clear()
    try:
        answer = pe.dumps(ask())
    except pe.PolicyError as error:
        answer = error.code
    return answer, steps(contexts[0]) if contexts else 0
