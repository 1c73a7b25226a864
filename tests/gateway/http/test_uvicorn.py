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
from uvicorn.server import ServerState

from gateway.http import connection, cycle, handshakes, listener

ROOT = Path(__file__).resolve().parents[3]

OVERRIDDEN = {"capture_signals", "on_tick", "startup", "shutdown"}
"""Methods of `_Server` that uvicorn calls under these names."""

USED = {
    "_Server": {"config", "server_state", "servers", "started"},
    "server": {"should_exit", "serve", "server_state"},
    "server_state": {"connections", "tasks"},
    # The state of a connection's server, as uvicorn makes it.
    "_server": {"connections", "tasks", "default_headers"},
    "config": {"loaded_app", "timeout_keep_alive", "http_protocol_class", "ssl"},
    "_flow": {
        "write_paused",
        "pause_writing",
        "resume_writing",
        "pause_reading",
        "read_paused",
        "resume_reading",
        "drain",
    },
}
"""Attributes and methods that modules of `gateway/http` read, set or call, by the class or name they do that on."""


def missing(what: str, names: set[str], found: object) -> list[str]:
    return [
        f"uvicorn {version('uvicorn')} has no `{what}.{name}`, which gateway/http relies on"
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
        parts: dict[str, object] = {
            "_Server": server,
            "server": server,
            "server_state": ServerState(),
            "_server": ServerState(),
            "config": config,
            "_flow": FlowControl(asyncio.Transport()),
        }
        named = {**USED, "_Server": USED["_Server"] | OVERRIDDEN}
        return [each for name, names in named.items() for each in missing(name, names, parts[name])]

    assert asyncio.run(main()) == []


def test_the_list_is_complete() -> None:
    """The parts that the code says it overrides and uses; a part that is not listed would not be looked for."""
    trees = [ast.parse(Path(str(module.__file__)).read_text("utf-8")) for module in (listener, connection, cycle)]
    used = {name: set[str]() for name in USED}
    (cls,) = (node for node in trees[0].body if isinstance(node, ast.ClassDef) and node.name == "_Server")
    methods = {each.name for each in ast.walk(cls) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    overridden = {name for name in methods if hasattr(uvicorn.Server, name) and not name.startswith("__")}
    own = methods | {
        each.attr
        for each in ast.walk(cls)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and not hasattr_of(uvicorn.Server, each.attr)
    }
    used["_Server"] = {
        each.attr
        for each in ast.walk(cls)
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self" and each.attr not in own
    }
    for each in [node for tree in trees for node in ast.walk(tree)]:
        if isinstance(each, ast.Attribute):
            owner = ast.unparse(each.value).rpartition(".")[2]
            if owner in used:
                used[owner].add(each.attr)
    assert overridden == OVERRIDDEN
    assert used == USED


def hasattr_of(parent: type, name: str) -> bool:
    """True if an instance of `parent` has this attribute: its class does, or its `__init__` sets it."""
    return hasattr(parent, name) or f"self.{name}" in inspect.getsource(parent)


def test_the_parts_of_uvloop_exist() -> None:
    """`handshakes.py` makes the event loop's own protocol of TLS, and listens to its beginning and its end."""
    assert {"connection_made", "connection_lost"} <= vars(handshakes.Handshake.__mro__[1]).keys()


def test_the_pin_is_exact() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"uvicorn=={version('uvicorn')}" in project["optional-dependencies"]["gateway"]
