"""The listener stands on uvicorn's insides, which any release may change: which parts those are, and that they exist.

uvicorn is pinned exactly for that reason. To move the pin, run the tests with the new release: these say which parts
are gone, `test_listener.py` and the tests of the data plane's framing whether the others still mean the same.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.http import listener

ROOT = Path(__file__).resolve().parents[3]

OVERRIDDEN = {
    "GuardedProtocol": {
        "connection_made", "connection_lost", "data_received", "resume_writing", "on_message_begin", "on_header",
        "on_headers_complete", "on_body", "on_message_complete", "on_response_complete", "send_400_response",
        "shutdown",
    },
    "_Server": {"capture_signals", "on_tick", "startup", "shutdown"},
}  # fmt: skip
"""Methods that uvicorn, or its parser, calls under these names."""

USED = {
    "GuardedProtocol": {
        "parser", "connections", "transport", "loop", "flow", "cycle", "scope", "url", "headers",
        "expect_100_continue", "timeout_keep_alive",
    },
    "cycle": {"response_started", "response_complete", "disconnected", "keep_alive"},
    "flow": {"write_paused", "resume_reading"},
    "_Server": {"config", "server_state", "servers", "started"},
    "server": {"should_exit", "serve", "server_state"},
    "server_state": {"connections", "tasks"},
}  # fmt: skip
"""Attributes and methods that `gateway/http/listener.py` reads, sets or calls, by the class or name it does that on."""


def missing(what: str, names: set[str], found: object) -> list[str]:
    return [
        f"uvicorn {version('uvicorn')} has no `{what}.{name}`, which gateway/http/listener.py relies on"
        for name in sorted(names)
        if not hasattr(found, name)
    ]


def test_every_part_exists() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    async def main() -> list[str]:
        config = uvicorn.Config(application, http="httptools", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup([])  # makes the list of listeners
        protocol = HttpToolsProtocol(config, server.server_state, {})
        protocol.on_message_begin()  # makes what belongs to one request
        parts: dict[str, object] = {
            "GuardedProtocol": protocol,
            "_Server": server,
            "server": server,
            "server_state": ServerState(),
            "flow": FlowControl(asyncio.Transport()),
            "cycle": RequestResponseCycle(
                protocol.scope, asyncio.Transport(), protocol.flow, protocol.logger, protocol.access_logger,
                False, [], asyncio.Event(), False, True, lambda: None,
            ),
        }  # fmt: skip
        named = {**OVERRIDDEN, **{name: USED[name] | OVERRIDDEN.get(name, set()) for name in USED}}
        return [each for name, names in named.items() for each in missing(name, names, parts[name])]

    assert asyncio.run(main()) == []


def test_the_list_is_complete() -> None:
    """What the listener's own code says it overrides and uses; a part that is not listed would not be looked for."""
    tree = ast.parse(Path(listener.__file__).read_text("utf-8"))
    overridden, used = {}, {name: set[str]() for name in USED}
    for cls in [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in OVERRIDDEN]:
        parent = {"GuardedProtocol": HttpToolsProtocol, "_Server": uvicorn.Server}[cls.name]
        methods = {each.name for each in ast.walk(cls) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        # The parser looks its callbacks up by name, whether uvicorn has them or not.
        overridden[cls.name] = {name for name in methods if hasattr(parent, name) and not name.startswith("__")}
        own = methods | {
            each.attr
            for each in ast.walk(cls)
            if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and not hasattr_of(parent, each.attr)
        }
        used[cls.name] = {
            each.attr
            for each in ast.walk(cls)
            if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self" and each.attr not in own
        } - {"limits", "linger"}
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute):
            owner = ast.unparse(each.value).rpartition(".")[2]
            if owner in ("cycle", "flow", "server", "server_state"):
                used[owner].add(each.attr)
    assert overridden == OVERRIDDEN
    assert used == USED


def hasattr_of(parent: type, name: str) -> bool:
    """Whether an instance of `parent` has this attribute: its class does, or its `__init__` sets it."""
    return hasattr(parent, name) or f"self.{name}" in inspect.getsource(parent)


def test_the_pin_is_exact() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"uvicorn=={version('uvicorn')}" in project["dependencies"]
