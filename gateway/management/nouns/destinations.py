"""Upstreams and routes. A secret is sent in the body of the request that seals it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import GatewayError
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry import names, upstream_routes
from gateway.registry.records import RouteMember, RouteRecord, UpstreamRecord
from gateway.registry.upstream_routes import NewMember
from gateway.upstream.check import LONGEST_SECONDS, UpstreamCheck
from gateway.upstream.operations import UpstreamOperation
from gateway.upstream.providers.http import openapi


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpstream:
    """An upstream with its secret. `openapi` is the document of a JSON API, as it was read."""

    name: str
    provider: str
    base_url: str
    secret: str | None = field(repr=False)
    default: bool = False
    insecure: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    openapi: dict[str, Any] | None = None


class Upstreams:
    def __init__(self, client: Client) -> None:
        self._client = client

    def add(self, organization: str, new: NewUpstream, *, replace: bool, reason: str) -> UpstreamRecord:
        body = {
            "provider": new.provider,
            "base_url": new.base_url,
            "secret": new.secret,
            "headers": new.headers,
            "default": new.default,
            "insecure": new.insecure,
            "openapi": None if new.openapi is None else openapi.needed(new.openapi),
            "reason": reason,
        }
        names.check_served("upstream", new.name)  # as it becomes a part of a path
        if replace and _is_there(self._client, "upstreams", new.name, organization):
            # What is given is meant whatever the upstream is, as on the gateway's machine.
            reply = self._client.send("PUT", "upstreams", new.name, body=body, match="*", organization=organization)
        else:
            reply = self._client.send("POST", "upstreams", body=body | {"name": new.name}, organization=organization)
        return documents.record(UpstreamRecord, reply.body)

    def listed(self, organization: str) -> list[UpstreamRecord]:
        return documents.records(UpstreamRecord, self._client.items("upstreams", organization=organization))

    def operations(self, organization: str, upstream: str) -> list[UpstreamOperation]:
        found = self._client.items("upstreams", upstream, "operations", organization=organization)
        return documents.records(UpstreamOperation, found)

    def check(self, organization: str, upstreams: Sequence[str], reason: str) -> list[UpstreamCheck]:
        if self._client.transport.is_here:
            body = {"upstreams": list(upstreams), "reason": reason}
            found = self._client.send("POST", "upstreams", "check", body=body, organization=organization).body
            return documents.records(UpstreamCheck, found["items"])
        return [
            documents.record(
                UpstreamCheck,
                self._client.send(
                    "POST",
                    *("upstreams", each, "check"),
                    body={"reason": reason},
                    seconds=LONGEST_SECONDS,
                    organization=organization,
                ).body,
            )
            for each in upstreams
        ]

    def remove(self, organization: str, upstream: str, reason: str) -> UpstreamRecord:
        reply = self._client.send("DELETE", "upstreams", upstream, organization=organization, reason=reason or None)
        return documents.record(UpstreamRecord, reply.body)


class Routes:
    def __init__(self, client: Client) -> None:
        self._client = client

    def set(
        self, organization: str, route: str, members: Sequence[NewMember], default: bool | None, reason: str
    ) -> RouteRecord:
        names.check_served("route", route)
        upstream_routes.check_members(members)
        listed = [
            {"upstream": each.upstream, "weight": each.weight, "tier": each.tier, "models": dict(each.models)}
            for each in members
        ]
        body = {"members": listed, "default": default, "reason": reason}
        if _is_there(self._client, "routes", route, organization):
            reply = self._client.send("PUT", "routes", route, body=body, match="*", organization=organization)
        else:
            reply = self._client.send("POST", "routes", body=body | {"name": route}, organization=organization)
        return _route(reply.body)

    def listed(self, organization: str) -> list[RouteRecord]:
        return [_route(each) for each in self._client.items("routes", organization=organization)]

    def remove(self, organization: str, route: str, reason: str) -> RouteRecord:
        reply = self._client.send("DELETE", "routes", route, organization=organization, reason=reason or None)
        return _route(reply.body)


def _is_there(client: Client, noun: str, name: str, organization: str) -> bool:
    try:
        client.get(noun, name, organization=organization)
    except GatewayError as error:
        if error.code != f"unknown_{noun.removesuffix('s')}":
            raise
        return False
    return True


def _route(document: dict[str, Any]) -> RouteRecord:
    return documents.record(RouteRecord, document | {"members": documents.records(RouteMember, document["members"])})
