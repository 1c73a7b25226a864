"""What the gateway would decide on a call: the bindings and policies in force, no request, and no upstream.

A call is an input document, or what a client would send: then it is routed, read and judged as in `proxy.py`, step by
step, limits included. Nothing is written here, and nothing is reserved.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Final

from gateway.call import Call, Reference
from gateway.dataplane import preconditions
from gateway.dataplane.forecast import Forecast, Limits, call_of
from gateway.dataplane.obliged import obliged, renamed
from gateway.dataplane.registry_view import RegistryView
from gateway.errors import GatewayError, Hint
from gateway.identity.principals import Principal
from gateway.policy import authorization
from gateway.policy.authorization import Authorization
from gateway.policy.cache import Panel, PolicyCache
from gateway.policy.input import build_input
from gateway.policy.input_schema import problems
from gateway.policy.obligations import Obligations
from gateway.registry.key_source import KeySource
from gateway.registry.reader import RegistryReader
from gateway.registry.vault import Vault
from gateway.runtime.references import References
from gateway.runtime.store import RuntimeStore
from gateway.settings import Settings
from gateway.upstream import routing
from gateway.upstream.providers import forms
from gateway.upstream.providers.base import Edits, Head
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Choices, Match

_SECONDS: Final = 30.0  # not the deadline of a request: this machine may be slower than the gateway's
_SHOWN: Final = 5
_PARTS: Final = ("resource", "request", "usage", "time")


@dataclass(frozen=True, slots=True)
class Judged:
    """The decision, at which epoch of the registry, the model that was asked for, and what the gateway would change."""

    authorization: Authorization
    epoch: int
    model: str | None
    edits: tuple[str, ...] = ()
    # What the limits say; None if the call did not get that far, or goes to no upstream that is known.
    forecast: Forecast | None = None


class DryRun:
    """A view of one data directory. Close it."""

    def __init__(self, settings: Settings) -> None:
        data = settings.data
        with ExitStack() as opened:
            self._limits = opened.enter_context(closing(Limits(settings)))
            self._reader = opened.enter_context(closing(RegistryReader(data.registry_db)))
            self._references = References(opened.enter_context(closing(RuntimeStore(data.runtime_db))))
            self._view = RegistryView(self._reader, Vault.load(data.keys, KeySource.of(settings)))
            self._policies = PolicyCache(data.bundles)
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    async def judge_document(self, principal: Principal, given: Mapping[str, Any], peer: str | None = None) -> Judged:
        """Judge a document, or parts of one. Raises `GatewayError` (`bad_input`) if it is none.

        `peer` is the address that the request would come from.
        """
        judges, epoch = await self._judges(principal)
        document, simplest = await self._completed(principal, given, body=bool(judges.content))
        models = document["resource"]["models"]
        judges = authorization.within_scope(judges, principal.scope, document["action"], models, peer)
        now_ns = document["time"]["now_ns"]
        references = tuple(Reference(each["kind"], each["id"]) for each in document["resource"]["references"])
        foreign = await self._foreign(principal, document["resource"]["upstream"], references)
        ends = time.monotonic() + _SECONDS
        found = authorization.judge(judges, document, now_ns, None, foreign, ends)
        requested = document["resource"]["model"]
        call = call_of(document, simplest)
        table = await self._view.routes((await self._view.epochs()).upstreams)
        destination = table.named(principal.organization, call.upstream)
        edits: tuple[str, ...] = ()
        cap = forecast = None
        if found.allow and destination is not None:
            found, cap = self._limits.with_output_limit(
                found, principal, call, destination, lambda call, wanted: (call, obliged_document(document, wanted)[1])
            )
        if found.allow and found.obligations:
            seed = found.seed
            found, changed, edits = authorization.enforce(
                found,
                document,
                obliged_document,
                lambda changed: authorization.judge(judges, changed, now_ns, seed, foreign, ends),
            )
            call = call_of(changed, simplest)
        if found.allow and destination is not None:
            found, forecast = self._limits.reserve(found, principal, call, destination, cap)
        elif found.allow:
            forecast = Forecast(0, 0, (), remark=f"not asked, because there is no upstream `{call.upstream}`")
        return Judged(found, epoch, requested, edits, forecast)

    async def judge_request(
        self, principal: Principal, method: str, path: str, raw: bytes, peer: str | None = None
    ) -> Judged:
        """Judge what a client would send. Raises `Denied` if it would be refused before any policy is asked."""
        path, _, asked = path.partition("?")
        target = routing.target(method, path.encode("utf-8", "replace"))
        epochs = await self._view.epochs()
        led = (await self._view.routes(epochs.upstreams)).resolve(principal.organization, target)
        match = led if isinstance(led, Match) else _usual(led)
        provider = match.destination.provider
        head = Head(
            preconditions.query(asked.encode("utf-8", "replace"), match.endpoint.route.query),
            content_type=forms.content_type(raw) if match.endpoint.route.body == "multipart" else "",
        )
        call, edits = provider.edit(provider.read(match.endpoint, head, raw), Edits(report_usage=True))
        requested, named = call.model, call.models
        call, more = renamed(match, call)
        edits += more
        judges, epoch = await self._judges(principal)
        judges = authorization.within_scope(judges, principal.scope, call.action, named, peer)
        foreign = await self._references.foreign(
            principal.organization, match.destination.id, principal.agent_id, call.references
        )
        ends, now_ns = time.monotonic() + _SECONDS, time.time_ns()
        usage = self._limits.usage(principal, now_ns)
        found = authorization.decide(judges, principal, call, now_ns, foreign=foreign, ends=ends, usage=usage)
        apply = functools.partial(obliged, provider)
        cap = forecast = None
        if found.allow:
            found, cap = self._limits.with_output_limit(found, principal, call, match.destination, apply)
        if found.allow and found.obligations:
            again = functools.partial(authorization.again, found, principal, ends=ends)
            found, call, made = authorization.enforce(found, call, apply, again)
            edits += made
        if found.allow:
            found, forecast = self._limits.reserve(found, principal, call, match.destination, cap)
        return Judged(found, epoch, requested, edits, forecast)

    async def _judges(self, principal: Principal) -> tuple[Panel, int]:
        """The bundles that judge a principal now, loaded here; and the epoch of the registry."""
        epochs = await self._view.epochs()
        active = await self._view.active(epochs.policy)
        for binding in principal.bindings:
            ref = active.find(binding.bundle, binding.pinned)
            if ref is not None:
                self._policies.load(ref.digest)
        return authorization.panel(principal, active, self._policies), epochs.value

    async def _foreign(
        self, principal: Principal, upstream: str, references: tuple[Reference, ...]
    ) -> tuple[Reference, ...]:
        rows = [row for row in await self._reader.upstreams() if row.organization == principal.organization]
        identifier = next((row.id for row in rows if row.name == upstream), "")
        return await self._references.foreign(principal.organization, identifier, principal.agent_id, references)

    async def _completed(
        self, principal: Principal, given: Mapping[str, Any], *, body: bool
    ) -> tuple[dict[str, Any], Call]:
        """The whole document: what was not given is as in the simplest call of that action, which is returned too."""
        action = given.get("action")
        if not isinstance(action, str):
            hint = 'write {"action": "chat.completions", "resource": {"model": "…"}}'
            if "messages" in given or "model" in given:
                hint = Hint("for the body of a request, say which: --route /v1/chat/completions")
            raise GatewayError("bad_input", "the call has no `action`", hint=hint)
        if isinstance(agent := given.get("agent"), dict):
            for name, mine in (("id", principal.agent_id), ("name", principal.name)):
                if agent.get(name, mine) != mine:
                    what = f"the call's `agent.{name}` is `{agent[name]}`, not that of agent `{principal.name}`"
                    raise GatewayError("bad_input", what, hint="leave `agent` out: the registry knows it")
        parts = {name: given.get(name, {}) for name in _PARTS}
        for name, part in parts.items():
            if not isinstance(part, dict):
                raise GatewayError("bad_input", f"the call's `{name}` is not an object")
        resource, request = parts["resource"], parts["request"]
        call = await self._simplest(principal.organization, action, resource.get("upstream"))
        now_ns = time.time_ns()
        document = build_input(principal, call, now_ns, self._limits.usage(principal, now_ns), body=body)
        # Members that are not known here stay, so that the schema names them.
        document = {**given, **document}
        for name, part in parts.items():
            document[name] = {**document[name], **part}
        if "model" in resource and "models" not in resource:
            document["resource"]["models"] = [] if resource["model"] is None else [resource["model"]]
        if "roles" in request and "messages" not in request and isinstance(request["roles"], list):
            document["request"]["messages"] = len(request["roles"])
        if found := problems(document):
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            message = f"the call is no input document: {'; '.join(found[:_SHOWN])}{more}"
            raise GatewayError("bad_input", message, hint="its form is schemas/input.schema.json")
        return document, call

    async def _simplest(self, organization: str, action: str, name: Any) -> Call:
        """A call of an action with nothing in it, at the upstream that was named, or the default one."""
        rows = [row for row in await self._reader.upstreams() if row.organization == organization]
        row = next((each for each in rows if (each.default if name is None else each.name == name)), None)
        provider = PROVIDERS.get(row.provider if row else "openai", PROVIDERS["openai"])
        route = next((each for each in provider.routes if each.action == action), None)
        return Call(
            action=action,
            upstream=row.name if row else "openai",
            provider=provider.name,
            method=route.method if route else "POST",
            path=provider.prefix + route.path if route else f"{provider.prefix}/{action.replace('.', '/')}",
            raw=b"",
            body=None,
        )


def _usual(choices: Choices) -> Match:
    """The member of a pool that most requests go to first."""
    return min(choices.members, key=lambda one: (one[0].tier, -one[0].weight))[1]


def obliged_document(document: dict[str, Any], obligations: Obligations) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document of the call that a provider would make of the one in `document`, and the names of the changes."""
    request, resource = dict(document["request"]), dict(document["resource"])
    if request["method"] != "POST":
        return document, ()
    names: list[str] = []
    cap, limit = obligations.max_output_tokens, request["max_output_tokens"]
    if cap is not None and (limit is None or limit > cap):
        request["max_output_tokens"] = cap
        names.append("max_output_tokens")
    tools = [each for each in request["tools"] if (each["name"] or each["type"]) not in obligations.strip_tools]
    if tools != request["tools"]:
        request["tools"] = tools
        names.append("strip_tools")
    if obligations.model is not None and resource["models"] not in ([], [obligations.model]):
        resource |= {"model": obligations.model, "models": [obligations.model]}
        names.append("model")
    return ({**document, "request": request, "resource": resource}, tuple(names)) if names else (document, ())
