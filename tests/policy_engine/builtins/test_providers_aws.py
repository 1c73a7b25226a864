"""providers.aws.sign_req against the real OPA: requests, configurations and times, right and wrong in every place."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any, Final

from policy_engine.values import Number, Set, Value
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import opa_outcome, verdict

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "400"))
NAME: Final = "providers.aws.sign_req"
CONFIG: Final = {
    "aws_access_key": "access",
    "aws_secret_access_key": "secret",
    "aws_service": "s3",
    "aws_region": "us-east-1",
}
URLS: Final = (
    *("http://example.com", "https://h:8443/a b/é?x=1&y=%20", "http://h/%41%2f/x", "http://h/*'()[]", "h", "/p"),
    *("http://u:p@h/", "mailto:a@b", "http://[::1]:80/", "http://h/a%zz", "", "*", "http://h?q", "http://h/a#f"),
    *(":", "http://h/ä?ö", 'http://h/"<>'),
)
HEADERS: Final[tuple[Value, ...]] = (
    *({}, {"Foo": "bar"}, {"Host": "x", "foo": "a"}, {"foo": 1, "b": "c"}, {1: "x"}, {"x-amz-content-sha256": "e"}),
    *({"X-Amz-Date": "q"}, {"User-Agent": "u", "Authorization": "z", "authorization": "y"}, {"é": "ü"}, [], "x", None),
)
TIMES: Final = (0, -5, 10**18, 2**63 - 1, -(2**63), Number("-1e9"), Number("5.0"), 2**64, 1.5, "x")


def _cases(made: random.Random) -> Iterator[list[Value]]:
    def sometimes(chance: float) -> bool:
        return made.random() < chance

    for _ in range(ROUNDS):
        request: dict[Any, Value] = {"method": made.choice(("get", "POST", "é")), "url": made.choice(URLS)}
        config: dict[Any, Value] = dict(CONFIG)
        if sometimes(0.5):
            request["headers"] = made.choice(HEADERS)
        if sometimes(0.5):
            content: tuple[Value, ...] = ({}, {"a": Set([1, 2])}, "x", "é", 1, None, [1])
            request[made.choice(("body", "raw_body"))] = made.choice(content)
        if sometimes(0.5):
            config["aws_service"] = made.choice(("glacier", "ec2", "é"))
        if sometimes(0.3):
            config["aws_session_token"] = made.choice(("token", "", 1))
        if sometimes(0.3):
            config["disable_payload_signing"] = made.choice((True, False, "x", None))
        for operand, keys in ((request, ("method", "url")), (config, tuple(CONFIG))):
            if sometimes(0.05):
                operand[made.choice((*keys, "other", 3))] = made.choice((1, None))
            if sometimes(0.05):
                operand.pop(made.choice(keys), None)
        moment = made.choice(TIMES) if sometimes(0.4) else 1_451_311_705_000_000_000
        yield [1 if sometimes(0.02) else request, 1 if sometimes(0.02) else config, moment]


def test_requests_are_signed_as_opa_signs_them(oracle: Oracle) -> None:
    differ, signed = [], 0
    for args in _cases(random.Random(23)):
        got, expected = verdict(NAME, *args), opa_outcome(oracle.call(NAME, *args))
        signed += '"Authorization": "AWS4-HMAC-SHA256' in got
        if got != expected:
            differ.append((args, got, expected))
    assert differ == []
    assert signed > ROUNDS // 10
