"""The number of function calls that an ordinary request costs: unlike a time, it is the same on every machine.

Each of them is about a thousandth of the request. A look-up, an object or a check that is added to every request shows
here; often it is needed only once for a connection, an agent or a state of the registry.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

import orjson

import gateway as package

from .conftest import Gateway, chat

MOST: Final = 950
_OURS: Final = str(Path(package.__file__).parent)


async def test_an_ordinary_call_costs_few_calls(gateway: Gateway) -> None:
    body = orjson.dumps(chat(temperature=0.2, max_tokens=256))
    for _ in range(3):  # everything that is worked out once is worked out now
        assert (await gateway.send(gateway.request(body))).status == 200
    counted = []
    for _ in range(3):
        calls: Counter[str] = Counter()

        def count(frame: FrameType, event: str, _: Any, calls: Counter[str] = calls) -> None:
            # The cost of C code counts for its caller.
            if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_OURS):
                calls[f"{frame.f_code.co_filename.removeprefix(_OURS)}:{frame.f_code.co_qualname}"] += 1

        sys.setprofile(count)
        try:
            reply = await gateway.send(gateway.request(body))
        finally:
            sys.setprofile(None)
        assert reply.status == 200
        counted.append(calls)
    fewest = min(counted, key=lambda each: each.total())  # in others something happens beside the request
    assert fewest.total() <= MOST, "\n".join(f"{n:5} {name}" for name, n in fewest.most_common(60))
