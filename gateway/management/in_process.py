"""Requests to the gateway of a data directory, carried out in this process: no HTTP, no event loop and no thread.

The caller is this machine's user, with all rights. A store is opened when an operation touches it: a copy of
the log has no registry beside it, and a vault whose key is somewhere else is no matter of a list of agents.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.control import dispatch, operations, requests
from gateway.control.callers import LocalCaller
from gateway.control.operation import Answer, Context, Operation
from gateway.control.problems import Problem
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.management.client import AnswerDocument, ApiError, ApiRequest, Reply, incomplete, target
from gateway.registry.documents import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.control.permissions import Bundles
    from gateway.control.sealing import Cursors
    from gateway.identity.credentials import Peppers
    from gateway.registry.database import Registry
    from gateway.registry.publication import Warn
    from gateway.secrets.vault import Vault
    from gateway.settings import Settings

_EVERY: Final = 10**9
"""More items than there are."""


class InProcess:
    """`Transport` of `client.py`, for one block: its changes are in the log when the block ends."""

    page = _EVERY
    is_here = True

    def __init__(self, data: Path, warn: Warn, progress: Callable[[int, int], None] | None = None) -> None:
        self._warn = warn
        self._caller = LocalCaller()
        self._opened = ExitStack()
        self._context = _Context(DataDirectory(data), self._opened, progress)
        self._publishing: set[bool] = set()

    def __enter__(self) -> InProcess:
        self._context.data.check_owner()  # not every operation opens the registry, which looks at that, too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def exchange(self, request: ApiRequest) -> Reply:
        try:
            return self._carried_out(request)
        except Problem as problem:
            hint = "" if f"{operations.PREFIX}/" in problem.hint else problem.hint  # a path is for programs
            raise ApiError(problem.code, problem.detail, hint, problem.status, problem.errors) from problem

    def no_list(self) -> GatewayError:
        return incomplete(["items"])

    def _carried_out(self, request: ApiRequest) -> Reply:
        operation, path = dispatch.find(
            request.method, (operations.PREFIX + target(request.path)).encode(), operations.table(request.path[0])
        )
        query = dict(request.query)
        limit = query.pop("limit", None)  # here it may be any
        body = None if request.body is None else json.dumps(request.body).encode()
        headers = {b"if-match": request.match.encode()} if request.match else {}
        more = {} if request.deliver is None else {"deliver": request.deliver}
        ask = dispatch.asked(
            self._context,
            self._caller,
            operation,
            path,
            query,
            body=requests.body_of(operation, body or b"{}"),
            matching=requests.tags(operation, headers),
            **more,
        )
        if limit is not None:
            ask.query.limit = int(limit)
        self._publish(operation, ask.body)
        answer: Answer = operation.function(ask)
        if operation.streams:
            return Reply(answer.body, "")
        return Reply(json.loads(orjson.dumps(plain(answer.body)), object_hook=AnswerDocument), answer.tag or "")

    def _publish(self, operation: Operation, body: Any) -> None:
        """Once in a block for its changes, and once for its restrictions."""
        restricts = operation.is_restriction(body)
        if (restricts or operation.writes) and restricts not in self._publishing:
            self._opened.enter_context(dispatch.publishing(self._context, operation, body, self._warn, None))
            self._publishing.add(restricts)


class _Context(Context):
    """`Context` whose members are opened when they are needed, and closed with the block."""

    _opened: ExitStack

    def __init__(self, data: DataDirectory, opened: ExitStack, progress: Callable[[int, int], None] | None) -> None:
        asked = {"health": self._health, "followed": self._followed}
        for name, value in {"data": data, "writer": None, "progress": progress, **asked}.items():
            object.__setattr__(self, name, value)
        vars(self)["_opened"] = opened

    @cached_property
    def registry(self) -> Registry:
        from gateway.registry.database import Registry

        found = Registry.open(self.data)
        self._opened.callback(found.close)
        return found

    @cached_property
    def settings(self) -> Settings:
        from gateway.settings import load_settings

        return load_settings({"data": self.data.path})

    @cached_property
    def peppers(self) -> Peppers:
        from gateway.identity.credentials import Peppers

        return Peppers.load(self.data.keys)

    @cached_property
    def vault(self) -> Vault:
        from gateway.secrets.vault import Vault

        return Vault.load(self.data.keys)

    @cached_property
    def cursors(self) -> Cursors:
        from gateway.control.sealing import Cursors

        return Cursors(os.urandom(32))  # none leaves this process

    @cached_property
    def bundles(self) -> Bundles:
        from gateway.control.permissions import Bundles

        return Bundles(self.data.bundles)

    def _health(self, organization: str | None, registry: Registry) -> Mapping[str, Any]:
        from gateway.processes import status_answer

        return status_answer.answer(self.settings, organization, registry)

    def _followed(self, commit: str) -> bool:
        from gateway.policy.rollout import whereabouts

        return whereabouts.is_followed(self.settings, commit)
