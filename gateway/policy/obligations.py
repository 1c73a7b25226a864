"""Obligations: what policies have the gateway change in a request before it is forwarded.

`decision.py` reads them out of a decision document, `authorization.py` has them carried out and checks the result.
Here is what they are, how those of several bundles become one, and whether a request meets them.
Specification: architecture.md, section 6; schemas/decision.schema.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

HEADERS: Final = frozenset(
    {
        "cf-aig-metadata",
        "http-referer",
        "x-amzn-bedrock-guardrailidentifier",
        "x-amzn-bedrock-guardrailversion",
        "x-cost-center",
        "x-data-class",
        "x-environment",
        "x-portkey-metadata",
        "x-purpose",
        "x-team",
        "x-title",
    }
)
"""The headers that a policy may set: labels for accounting and classification, and the choice of a guardrail. None of
them names a credential, an account, a model, a tool or a route, and no client can send one of them through here."""


class Conflict(Exception):
    """Several obligations that no request can meet at once; the text says which."""


@dataclass(frozen=True, slots=True)
class Obligations:
    """The demands of one bundle, or of all of them together. Empty members ask for nothing."""

    # The limit of all answers of a request together.
    max_output_tokens: int | None = None
    # Names of tools; a tool without a name, which the provider runs itself, goes by its type.
    strip_tools: frozenset[str] = frozenset()
    # By their names in lower case.
    set_headers: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None

    def __bool__(self) -> bool:
        return bool(self.max_output_tokens is not None or self.strip_tools or self.set_headers or self.model)

    def document(self) -> dict[str, Any]:
        """The obligations in the words of a decision document; those that ask for nothing are left out."""
        members = {
            "max_output_tokens": self.max_output_tokens,
            "strip_tools": sorted(self.strip_tools),
            "set_headers": dict(self.set_headers),
            "model": self.model,
        }
        return {name: value for name, value in members.items() if value}

    def unmet(self, limit: int | None, tools: Iterable[tuple[str, str]], models: Sequence[str]) -> str:
        """The obligation that a request does not meet, and how; empty if it meets all that can be seen in it.

        `limit` is the output limit it asks for, `tools` the type and name of each, `models` every model that it names.
        A request without a limit meets the cap here: after all edits, it is one whose answer has no output to limit.
        """
        if self.max_output_tokens is not None and limit is not None and limit > self.max_output_tokens:
            return f"`max_output_tokens` is {self.max_output_tokens}, and the request asks for {limit}"
        if left := self.strip_tools.intersection(name or kind for kind, name in tools):
            return f"`strip_tools` names {_shown(left)}, which the request still has"
        if self.model is not None and (others := set(models) - {self.model}):
            return f"`model` is {_shown([self.model])}, and the request names {_shown(others)}"
        return ""


NOTHING: Final = Obligations()


def together(several: Iterable[Obligations]) -> Obligations:
    """All of these at once: the smallest cap, every tool, every header and the one model. Raises `Conflict`.

    The order does not matter.
    """
    asked = [each for each in several if each]
    if len(asked) < 2:
        return asked[0] if asked else NOTHING
    headers: dict[str, str] = {}
    for each in asked:
        for name, value in each.set_headers.items():
            if headers.setdefault(name, value) != value:
                values = {other.set_headers[name] for other in asked if name in other.set_headers}
                raise Conflict(f"bundles set the header `{name}` to different values: {_shown(values)}")
    models = {each.model for each in asked if each.model is not None}
    if len(models) > 1:
        raise Conflict(f"bundles ask for different models: {_shown(models)}")
    caps = [each.max_output_tokens for each in asked if each.max_output_tokens is not None]
    return Obligations(
        max_output_tokens=min(caps, default=None),
        strip_tools=frozenset().union(*(each.strip_tools for each in asked)),
        set_headers=headers,
        model=next(iter(models), None),
    )


_MAX_SHOWN: Final = 5


def _shown(texts: Iterable[str]) -> str:
    listed = sorted(texts)
    more = f" and {len(listed) - _MAX_SHOWN} more" if len(listed) > _MAX_SHOWN else ""
    return ", ".join(f"`{each[:64]}`" for each in listed[:_MAX_SHOWN]) + more
