"""Dry runs: a call is judged by the bindings and policies in force, without a request and without an upstream.

A call is an input document, or what a client would send: then it is routed, read and judged as in `proxy.py`, step by
step, limits included. Nothing is written here, and nothing is reserved.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.call import Call
from gateway.dataplane import border, preconditions
from gateway.dataplane.forecast import Forecast, Limits, call_of
from gateway.dataplane.judgement import judge
from gateway.dataplane.obliged import described, obliged, renamed
from gateway.dataplane.reading import REPORT_USAGE, check_upstream
from gateway.dataplane.registry_view import RegistryView, provider_of
from gateway.errors import Denied, GatewayError, Hint
from gateway.identity.credentials import Method
from gateway.identity.principals import Found, Principal, principal_of, refusal_of
from gateway.mcp.joined import PATH
from gateway.policy import authorization
from gateway.policy.authorization import Apply, Authorization
from gateway.policy.cache import CompiledBundle, Panel, PolicyCache
from gateway.policy.input import build_input
from gateway.policy.input_schema import problems
from gateway.registry.reader import RegistryReader
from gateway.runtime.references import References
from gateway.runtime.store import RuntimeStore
from gateway.secrets.vault import Vault
from gateway.settings import Settings
from gateway.upstream import routing
from gateway.upstream.providers import forms
from gateway.upstream.providers.base import RequestHead, Route, simplest
from gateway.upstream.providers.mcp.joined import Joined
from gateway.upstream.providers.mcp.provider import Mcp
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Choices, Destination, Match

_SECONDS: Final = 30.0  # not the deadline of a request: this machine may be slower than the gateway's
_SHOWN: Final = 5
_PARTS: Final = ("resource", "request", "usage", "time")


@dataclass(frozen=True, slots=True)
class Trial:
    """The decision, at which epoch of the registry, the model that was asked for, and what the gateway would change."""

    authorization: Authorization
    epoch: int
    model: str | None
    edits: tuple[str, ...]
    # The answer of the limits; None if the call did not get that far, or goes to no upstream that is known.
    forecast: Forecast | None


class DryRun:
    """A view of one data directory. Close it."""

    def __init__(self, settings: Settings, vault: Vault, load: Callable[[str], CompiledBundle]) -> None:
        """`vault` is that of this process: one for each dry run would run the command that gives its key each time.

        `load` gives a published revision by its digest, compiled.
        """
        data = settings.data
        with ExitStack() as opened:
            self._limits = opened.enter_context(closing(Limits(settings)))
            self._reader = opened.enter_context(closing(RegistryReader(data.registry_db)))
            self._references = References(opened.enter_context(closing(RuntimeStore(data.runtime_db))))
            self._view = RegistryView(self._reader, vault, settings.public_data_plane)
            self._policies, self._load = PolicyCache(data.bundles), load
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    async def principal(self, credential: str, method: Method) -> Principal:
        """The principal of a key, an adopted key or an agent without any, by its id; `Denied` if it would be refused.

        The credential counts as presented and matching.
        """
        epoch = (await self._view.epochs()).authority
        row = await self._reader.named(credential)
        if row is None:
            raise Denied("bad_credentials", "unknown")
        if (denied := refusal_of(Found(row, None))) is not None:
            raise denied
        return principal_of(row, "", epoch, method)

    async def judge_document(self, principal: Principal, given: Mapping[str, Any], peer: str | None = None) -> Trial:
        """Judge a document, or parts of one. Raises `GatewayError` (`bad_input`) if it is none.

        `peer` is the address that the request would come from.
        """
        document, simplest = await self._completed(principal, given)
        principal = replace(principal, person=document.get("on_behalf_of"))
        call = call_of(document, simplest)
        table = await self._view.routes((await self._view.epochs()).upstreams)
        destination = table.named(principal.organization, call.upstream)
        clock, usage = document["time"], document["usage"]
        trial = await self._judge(
            principal, call, destination, described, clock["now_ns"],
            peer=peer, models=call.models, usage=usage, clock=clock,
        )  # fmt: skip
        if destination is None and trial.authorization.allow:
            remark = f"not asked, because there is no upstream `{call.upstream}`"
            return replace(trial, model=call.model, forecast=Forecast(0, 0, (), remark=remark))
        return replace(trial, model=call.model)

    async def judge_request(
        self, principal: Principal, method: str, path: str, raw: bytes, peer: str | None = None
    ) -> Trial:
        """Judge what a client would send. Raises `Denied` if it would be refused before any policy is asked."""
        path, _, asked = path.partition("?")
        target = routing.target(method, path.encode("utf-8", "replace"))
        epochs = await self._view.epochs()
        led = (await self._view.routes(epochs.upstreams)).resolve(principal.organization, target)
        check_upstream(principal, led)
        match = led if isinstance(led, Match) else _usual(led)
        provider = match.destination.provider
        if isinstance(provider, Joined):
            why = f"{PATH} asks several servers, each by a call of its own: ask about one at its path, /SERVER{PATH}"
            raise Denied("bad_request", reasons=[why])
        head = RequestHead(
            preconditions.query(asked.encode("utf-8", "replace"), match.endpoint.route.query),
            content_type=forms.content_type(raw) if match.endpoint.route.body == "multipart" else "",
        )
        call, edits = provider.edit(provider.read(match.endpoint, head, raw), REPORT_USAGE)
        requested, named = call.model, call.models
        call, more = renamed(match, call)
        if match.destination.published is not None:
            # The other side is not asked: its policies and reasons are its own.
            callee = await self._view.callees.of(match.destination, epochs.authority)
            call = replace(call, agent=callee.document)
        elif (remote := match.destination.remote) is not None:
            known = any(remote[0] in each.speaks_for for each in await self._view.peers.peers())
            call = replace(call, agent=border.document_of(remote, known=known))
        now_ns, apply = time.time_ns(), functools.partial(obliged, provider)
        usage = self._limits.budget.usage(principal, now_ns)
        trial = await self._judge(
            principal, call, match.destination, apply, now_ns, peer=peer, models=named, usage=usage
        )  # fmt: skip
        return replace(trial, model=requested, edits=edits + more + trial.edits)

    async def _judge(
        self,
        principal: Principal,
        call: Call,
        destination: Destination | None,
        apply: Apply,
        now_ns: int,
        *,
        peer: str | None,
        models: tuple[str, ...],
        usage: Mapping[str, Any],
        clock: Mapping[str, Any] | None = None,
    ) -> Trial:
        judges, epoch = await self._judges(principal)
        judges = authorization.within_scope(judges, principal.scope, call, models, peer)
        upstream = "" if destination is None else destination.id
        foreign = await self._references.foreign(principal.organization, upstream, principal.agent_id, call.references)
        judged = judge(
            judges, principal, call, now_ns, apply, time.monotonic() + _SECONDS,
            foreign=foreign, usage=usage, clock=clock, budget=self._limits.budget, destination=destination,
        )  # fmt: skip
        found, forecast = self._limits.asked(judged)
        return Trial(found, epoch, None, judged.edits, forecast)

    async def _judges(self, principal: Principal) -> tuple[Panel, int]:
        """The bundles that judge a principal now, loaded here; and the epoch of the registry."""
        epochs = await self._view.epochs()
        active = await self._view.active(epochs.policy)
        for binding in principal.bindings:
            ref = active.find(binding.bundle, binding.pinned)
            if ref is not None:
                self._policies.hold(self._load(ref.digest))
        return authorization.panel(principal, active, self._policies), epochs.value

    async def _completed(self, principal: Principal, given: Mapping[str, Any]) -> tuple[dict[str, Any], Call]:
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
        call = await self._simplest(principal.organization, action, resource.get("upstream"), resource.get("tool"))
        now_ns = time.time_ns()
        usage = self._limits.budget.usage(principal, now_ns)
        document = build_input(principal, call, now_ns, usage, body=call.tool is not None)
        # Members that are not known here stay, so that the schema names them.
        document = {**given, **document}
        for name, part in parts.items():
            known_tool = document["resource"].get("tool", {})
            document[name] = {**document[name], **part}
            if name == "resource" and isinstance(tool := part.get("tool"), dict):
                document[name]["tool"] = {**known_tool, **tool}
        if "model" in resource and "models" not in resource:
            document["resource"]["models"] = [] if resource["model"] is None else [resource["model"]]
        if "roles" in request and "messages" not in request and isinstance(request["roles"], list):
            document["request"]["messages"] = len(request["roles"])
        if found := problems(document):
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            message = f"the call is no input document: {'; '.join(found[:_SHOWN])}{more}"
            raise GatewayError("bad_input", message, hint="its form is schemas/input.schema.json")
        return document, call

    async def _simplest(self, organization: str, action: str, name: Any, tool: Any) -> Call:
        """A call of an action with nothing in it but the tool, at the upstream that was named, or the default one."""
        rows = [row for row in await self._reader.upstreams() if row.organization == organization]
        row = next((each for each in rows if (each.default if name is None else each.name == name)), None)
        provider = (row and provider_of(row)) or PROVIDERS["openai"]
        if row is not None:
            table = await self._view.routes((await self._view.epochs()).upstreams)
            known = table.named(organization, row.name)
            provider = provider if known is None else known.provider
        upstream = row.name if row else "openai"
        if isinstance(provider, Mcp):
            named, arguments = (tool.get("name"), tool.get("arguments")) if isinstance(tool, dict) else (None, None)
            return provider.simplest(upstream, action, named if isinstance(named, str) else None, arguments)
        route = next((each for each in provider.routes if each.action == action), None)
        if route is None:
            route = Route("POST", f"/{action.replace('.', '/')}", action, "json")
        return simplest(provider, upstream, route)


def _usual(choices: Choices) -> Match:
    """The member of a pool that most requests go to first."""
    return min(choices.members, key=lambda one: (one[0].tier, -one[0].weight))[1]
