"""A gateway elsewhere, for commands: each change and query is a request, or a few, to its control API."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gateway.management.client import Client

if TYPE_CHECKING:
    from gateway.management.nouns.adoptions import Adoptions
    from gateway.management.nouns.assignments import Bindings, Limits
    from gateway.management.nouns.destinations import Routes, Upstreams
    from gateway.management.nouns.fleet import Fleet
    from gateway.management.nouns.keys import Keys
    from gateway.management.nouns.log import Log, Usage
    from gateway.management.nouns.permissions import Permissions


class Gateway:
    """Only the nouns that a command uses are imported."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @cached_property
    def keys(self) -> Keys:
        from gateway.management.nouns.keys import Keys

        return Keys(self._client)

    @cached_property
    def bindings(self) -> Bindings:
        from gateway.management.nouns.assignments import Bindings

        return Bindings(self._client)

    @cached_property
    def limits(self) -> Limits:
        from gateway.management.nouns.assignments import Limits

        return Limits(self._client)

    @cached_property
    @cached_property
    def permissions(self) -> Permissions:
        from gateway.management.nouns.permissions import Permissions

        return Permissions(self._client)

    @cached_property
    def upstreams(self) -> Upstreams:
        from gateway.management.nouns.destinations import Upstreams

        return Upstreams(self._client)

    @cached_property
    def routes(self) -> Routes:
        from gateway.management.nouns.destinations import Routes

        return Routes(self._client)

    @cached_property
    def adoptions(self) -> Adoptions:
        from gateway.management.nouns.adoptions import Adoptions

        return Adoptions(self._client)

    @cached_property
    def log(self) -> Log:
        from gateway.management.nouns.log import Log

        return Log(self._client)

    @cached_property
    def usage(self) -> Usage:
        from gateway.management.nouns.log import Usage

        return Usage(self._client)

    @cached_property
    def fleet(self) -> Fleet:
        from gateway.management.nouns.fleet import Fleet

        return Fleet(self._client)
