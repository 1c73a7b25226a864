"""Shared parts of the tests in `tests/gateway/usage/test_bounds.py`."""

from __future__ import annotations

import json
from typing import Any

from gateway.call import Call
from gateway.upstream.providers.base import Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS


def read(name: str, action: str, body: dict[str, Any]) -> Call:
    provider = PROVIDERS[name]
    route = next(each for each in provider.routes if each.action == action)
    params = {"model": "m"} if "{model}" in route.path else {}
    path = provider.prefix + route.path.replace("{model}", "m")
    return provider.read(Endpoint("u", route, path, params), RequestHead(), json.dumps(body).encode())
