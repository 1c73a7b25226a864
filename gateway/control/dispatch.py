"""From a request to its operation, whichever way it came: over HTTP (`server.py`) or from a command in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from gateway.control import operations, requests, tenants
from gateway.control.callers import Caller
from gateway.control.operation import Ask, Context, Operation
from gateway.control.problems import Problem

if TYPE_CHECKING:
    import re

    from gateway.registry.publication import Warn


def find(
    method: str, target: bytes, table: Iterable[tuple[re.Pattern[bytes], Operation]]
) -> tuple[Operation, dict[str, str]]:
    """The operation, and the parameters in its path. Each part is decoded by itself: `%2F` separates nothing."""
    allowed = []
    for pattern, operation in table:
        if (found := pattern.fullmatch(target)) is not None:
            if operation.method == method:
                return operation, {name: requests.part(value) for name, value in found.groupdict().items()}
            allowed.append(operation.method)
    if allowed:
        headers = [("allow", ", ".join(sorted(allowed)))]
        raise Problem(405, "wrong_method", f"this path does not take {requests.shown(method)}", headers=headers)
    hint = f"GET {operations.PREFIX}/ shows what there is"
    raise Problem(404, "unknown_path", "there is no such path in the control API", hint=hint)


def asked(
    context: Context, caller: Caller, operation: Operation, path: Mapping[str, str], query: dict[str, str], **more: Any
) -> Ask[Any, Any]:
    """The `Ask` for the operation's function; `more` are its other members, checked."""
    wanted = query.pop("organization", None) if operation.of_an_organization else None
    return Ask(
        context=context,
        caller=caller,
        organization=tenants.organization(context, operation, caller, wanted),
        path=path,
        query=requests.validated_query(operation, query),
        **more,
    )


def publishing(
    context: Context, operation: Operation, body: Any, warn: Warn, owed: Warn | None
) -> AbstractContextManager[None]:
    """For carrying it out: what it changes is in the log when the block ends (`registry/publication.py`).

    `warn` is told of a restriction that is not, and `owed` of any other change; without it that is an error.
    """
    restricts = operation.is_restriction(body)
    if not (restricts or operation.writes):
        return nullcontext()
    from gateway.registry import publication

    if restricts:
        return publication.restricting(context.registry, context.data, warn, writer=context.writer)
    return publication.changing(context.registry, context.data, writer=context.writer, warn=owed)
