"""The table of operations: each path leads to its own, in whatever order they were declared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from types import NoneType

import pytest

from gateway.control import dispatch, operations
from gateway.control.operation import Body, Operation, Query
from gateway.control.operations import PREFIX, matchers

EVERY = operations.every()


@pytest.mark.parametrize("order", [list, reversed])
def test_every_path_leads_to_its_operation(order: Callable[[list[Operation]], Iterable[Operation]]) -> None:
    table = matchers(order(EVERY))
    for each in EVERY:
        assert dispatch.find(each.method, _target(each), table)[0] is each, each.where


def test_commands_find_the_operations_of_the_server() -> None:
    for each in EVERY:
        found, _ = dispatch.find(each.method, _target(each), operations.table(each.path.split("/")[1]))
        assert found is each, each.where


def test_every_operation_says_what_it_does() -> None:
    for each in EVERY:
        assert re.fullmatch(r"[A-Z`].*[^.]", each.summary), each.where
        assert re.fullmatch(r"(GET|POST|PUT|PATCH|DELETE) (/[a-z-]+|/\{[a-z]+\})+", each.where)
        kinds = [kind for kind in each._types if kind not in (object, NoneType)]
        assert all(issubclass(kind, Body | Query) for kind in kinds), each.where


def _target(operation: Operation) -> bytes:
    return (PREFIX + re.sub(r"\{\w+\}", "xyz", operation.path)).encode()
