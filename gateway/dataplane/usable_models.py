"""Finds the models of a provider's list that an agent may use, by asking the policies that judge its calls.

A model is usable if the simplest call of it would be allowed: one that says only the action and the model, for any
action that asks a model. Policies may demand more of every call, such as an approved prompt. Then no model passes,
which says nothing about models, and the list stays as it is. Each call is decided all the same: the list is a help for
clients that let people choose, and protects nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.call import Call
from gateway.identity.principals import Principal
from gateway.policy import authorization
from gateway.policy.cache import Panel
from gateway.upstream.providers.base import Provider, simplest

_ASKING: Final = frozenset(
    {
        "chat.completions",
        "responses",
        "messages",
        "generate_content",
        "embeddings",
        "embed_content",
        "completions",
        "moderations",
        "images.generations",
        "images.edits",
        "audio.speech",
        "audio.transcriptions",
    }
)
# Azure lists models, and calls name deployments.
_OTHER_NAMES: Final = frozenset({"azure"})
_MODEL: Final = (("resource", "model"), ("resource", "models"))
_SECONDS: Final = 1.0  # that a list may take; what is not asked by then stays


class UsableModels:
    """Asks the panel that has allowed a list of models. It may be used on any thread.

    `usage` is what the agent has used, as the policies saw it when they allowed the list.
    """

    def __init__(
        self, judges: Panel, principal: Principal, provider: Provider, upstream: str, usage: Mapping[str, Any]
    ) -> None:
        self._judges = judges
        self._principal = principal
        self._provider = provider
        self._upstream = upstream
        self._usage = usage
        self._routes = {each.action: each for each in provider.routes if each.action in _ASKING}

    @property
    def asks(self) -> bool:
        """True if there is a call to ask about, and policies that can look at its model."""
        return (
            bool(self._routes)
            and self._provider.name not in _OTHER_NAMES
            and any(
                path[: len(model)] == model[: len(path)]
                for member in self._judges.members
                for path in member.bundle.input_paths
                for model in _MODEL
            )
        )

    def among(self, models: Iterable[str]) -> Collection[str]:
        """Those of these models that the agent may use; all of them if it could use none."""
        every = dict.fromkeys(models)
        now_ns, ends = time.time_ns(), time.monotonic() + _SECONDS
        calls = [simplest(self._provider, self._upstream, each) for each in self._routes.values()]
        # Most models are allowed by the action that allowed the last one.
        usable: list[str] = []
        for model in every:
            for place, call in enumerate(calls):
                if time.monotonic() > ends:
                    return every
                if self._allows(call, model, now_ns, ends):
                    usable.append(model)
                    calls.insert(0, calls.pop(place))
                    break
        return usable or every

    def _allows(self, call: Call, model: str, now_ns: int, ends: float) -> bool:
        named = replace(call, model=model, models=(model,), body={})
        found = authorization.decide(self._judges, self._principal, named, now_ns, ends=ends, usage=self._usage)
        return found.allow
