"""Between policies and providers: obligations as edits of a call."""

from __future__ import annotations

from gateway.call import Call
from gateway.policy.obligations import Obligations
from gateway.upstream.providers.base import Edits, Provider


def obliged(provider: Provider, call: Call, obligations: Obligations) -> tuple[Call, tuple[str, ...]]:
    """The call as obligations change its body, and the provider's names of the changes.

    Headers are no part of a body: they are set when the call is forwarded.
    """
    edits = Edits(
        max_output_tokens=obligations.max_output_tokens,
        strip_tools=obligations.strip_tools,
        model=obligations.model,
    )
    return provider.edit(call, edits)
