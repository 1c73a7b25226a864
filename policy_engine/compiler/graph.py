"""Graphs of arbitrary nodes: the order that dependencies require, and the shortest path between two nodes.

Nothing here recurses: chains of rules may be longer than Python's stack.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
Edges = Callable[[T], Iterable[T]]


def components(starts: Iterable[T], edges: Edges[T]) -> list[list[T]]:
    """The strongly connected components of the reachable nodes (Tarjan), each after those that it has edges to."""
    found: list[list[T]] = []
    number: dict[T, int] = {}
    lowest: dict[T, int] = {}
    open_: list[T] = []
    is_open: set[T] = set()
    pending: list[tuple[T, Iterator[T]]] = []

    def enter(node: T) -> None:
        number[node] = lowest[node] = len(number)
        open_.append(node)
        is_open.add(node)
        pending.append((node, iter(edges(node))))

    for start in starts:
        if start not in number:
            enter(start)
        while pending:
            node, rest = pending[-1]
            for target in rest:
                if target not in number:
                    enter(target)
                    break
                if target in is_open:
                    lowest[node] = min(lowest[node], number[target])
            else:
                pending.pop()
                if pending:
                    above = pending[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == number[node]:
                    component = [open_.pop()]
                    while component[-1] is not node:
                        component.append(open_.pop())
                    is_open.difference_update(component)
                    found.append(component[::-1])
    return found


def shortest_path(starts: Iterable[T], goal: T, edges: Edges[T]) -> list[T]:
    """The nodes of a shortest path from any of `starts` to `goal`, both included; empty if there is none."""
    came_from: dict[T, T | None] = dict.fromkeys(starts)
    pending = deque(came_from)
    while pending:
        node = pending.popleft()
        if node is goal:
            path = [node]
            while (before := came_from[path[-1]]) is not None:
                path.append(before)
            return path[::-1]
        for target in edges(node):
            if target not in came_from:
                came_from[target] = node
                pending.append(target)
    return []
