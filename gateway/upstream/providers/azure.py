"""Azure OpenAI: OpenAI's API under Azure's paths, with a version in the query and the key in a header of its own.

Under `/openai/deployments/{deployment}/…` the deployment is the model, whatever the body says. Under `/openai/v1/…` the
body names it, as with OpenAI. An upstream's base URL is the resource's endpoint: `https://NAME.openai.azure.com`.
Specification: https://learn.microsoft.com/azure/ai-foundry/openai/reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.body import Body
from gateway.call import Call
from gateway.outbound.client import Outgoing
from gateway.upstream import json_body
from gateway.upstream.guards import CallGuard, Guard
from gateway.upstream.providers import members
from gateway.upstream.providers.base import (
    MODEL_EDIT,
    Edits,
    Endpoint,
    RequestHead,
    Route,
    Sent,
    request_of,
    without_version,
)
from gateway.upstream.providers.openai import chat, media, simple
from gateway.upstream.providers.openai.deployments import DEPLOYMENT, of_its_path
from gateway.upstream.providers.openai.provider import OpenAI

_VERSION = "api-version"
_QUERY = frozenset({_VERSION})
_DATE = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")
_NEW_VERSIONS = frozenset({"v1", "latest", "preview"})
_MODEL = re.compile(r"[A-Za-z0-9._-]{1,128}")
_DEPLOYMENTS, _NEW = f"/openai/deployments/{{{DEPLOYMENT}}}", "/openai/v1"


def _routes() -> list[Route]:
    deployments = [
        replace(route, path=_DEPLOYMENTS + route.path)
        for route in OpenAI.routes
        if route.action in {chat.ACTION, simple.EMBEDDINGS, simple.COMPLETIONS, *media.ACTIONS}
    ]
    # Azure's own clients, before there was `/openai/v1`.
    dated = [
        replace(route, path=f"/openai{route.path}")
        for route in OpenAI.routes
        if route.action.startswith(("responses", "models", "files", "vector_stores"))
    ]
    new = [replace(route, path=_NEW + route.path) for route in OpenAI.routes]
    return [replace(route, query=route.query | _QUERY) for route in [*deployments, *dated, *new]]


class Azure(OpenAI):
    """The provider; see `base.Provider` for what each member promises."""

    name = "azure"
    # Clients add all of a path to the endpoint.
    prefix = ""
    routes: Sequence[Route] = tuple(_routes())

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        version = head.query.get(_VERSION)
        if not endpoint.route.path.startswith(_NEW):
            if version is None or not _DATE.fullmatch(version):
                members.refuse(
                    "the query must have an `api-version` such as 2024-10-21 or 2025-04-01-preview; "
                    "the base URL of a client that sends none should end in `/openai/v1`"
                )
        elif version is not None and version not in _NEW_VERSIONS:
            members.refuse("`api-version` under `/openai/v1` must be `v1`, `latest`, `preview` or absent")
        return super().read(endpoint, head, raw)

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        call, put = of_its_path(call)
        changed, names = self._edit(call, edits)
        return changed, (*put, *(name for name in names if name not in put))

    def _edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        wanted = edits.model
        if DEPLOYMENT not in call.params or wanted is None or wanted == call.model:
            return super().edit(call, edits)
        if call.content_type != "application/json" and "model" in (call.body or {}):
            return call, ()  # a form that repeats the deployment stays as it is, and so is denied
        if not _MODEL.fullmatch(wanted):  # it cannot stand in a path, so the obligation stays unmet
            return super().edit(call, replace(edits, model=None))
        changed, names = super().edit(_moved(call, wanted), replace(edits, model=None))
        return changed, (*names, MODEL_EDIT)

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        return request_of(call, without_version(base_url, (_NEW, "/openai")), headers, ("api-key", secret))

    def guard(self, sent: Sent) -> Guard | CallGuard | None:
        """It lists models, and calls name deployments: of those that are listed, policies can say nothing."""
        found = super().guard(sent)
        return replace(found, uses=()) if isinstance(found, Guard) else found


def _moved(call: Call, wanted: str) -> Call:
    """The call to another deployment."""
    assert call.body is not None
    path = call.path.replace(f"/deployments/{call.model}/", f"/deployments/{wanted}/", 1)
    params = {**call.params, DEPLOYMENT: wanted}
    body = {name: value for name, value in call.body.items() if name not in ("model", "models", "fallbacks")}
    raw = call.raw if body == call.body else json_body.dump(body, call.raw)
    # Only tools and moderation have other models.
    models = tuple(dict.fromkeys([wanted, *call.models[1:]]))
    return replace(call, path=path, params=params, model=wanted, models=models, body=body, raw=raw)
