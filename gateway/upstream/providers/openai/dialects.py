"""Differences of servers that speak the OpenAI API: the output limit's name, how streams report usage, errors.

OpenAI itself takes `max_completion_tokens`, or the older `max_tokens`, but not both at once. Many servers know only
`max_tokens` and silently ignore the other name, so a cap written under it would cap nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.upstream.providers.openai import rejections

FORWARDED = frozenset({b"accept", b"openai-beta", b"idempotency-key", b"x-client-request-id"})
"""The headers of clients that go upstream with every request."""

LIMITS = ("max_completion_tokens", "max_tokens")
"""The names of the output limit. If the client gives several, they must agree."""

CACHES = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")
"""Names in usage of what was read from the cache. DeepSeek has the first (https://api-docs.deepseek.com/guides/kv_cache),
Kimi and servers of its models the second (https://platform.kimi.ai/docs/api/chat), servers made of vLLM the third,
Databricks, Snowflake and LiteLLM the last.
"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The names of the output limit that a server honours, the preferred one first.

    `together` says that all of them may stand in one request. `reports_usage` says that streams report usage without
    being asked; then an event that holds nothing else belongs to the answer, and the call stays as it is. `charges` is
    the member of usage in which a server says what it has charged for the call, and how many of its units are a dollar.
    `caches` are the names in usage of what was read from the cache, besides `prompt_tokens_details.cached_tokens`.
    `reject` tells what its errors are about.
    """

    honoured: tuple[str, ...]
    together: bool = False
    reports_usage: bool = False
    charges: tuple[str, int] | None = None
    caches: tuple[str, ...] = CACHES
    reject: rejections.Reject = rejections.openai


OPENAI = Dialect(LIMITS)
OLDER = Dialect(("max_tokens",))
"""Servers that know the older name alone."""
OLDER_FIRST = Dialect(("max_tokens", "max_completion_tokens"))
"""Servers that know either name but not both at once, and of which the older one is known best."""
EITHER = Dialect(LIMITS, together=True)
"""Servers that honour either name, or of which it is not known: then a cap is written under both."""
MISTRAL = Dialect(("max_tokens",), reports_usage=True, caches=())
"""Its `num_cached_tokens` were there before it charged less for any; those that it does stand in the details
(https://docs.mistral.ai/studio-api/conversations/advanced/prompt-caching).
"""
OPENROUTER = Dialect(LIMITS, together=True, charges=("cost", 1), reject=rejections.openrouter)
"""It charges what the provider that it has chosen does, and for searches and other models that it runs as tools."""
XAI = Dialect(LIMITS, charges=("cost_in_usd_ticks", 10**10), reject=rejections.xai)
"""As OpenAI. Its charge includes its own tools: https://docs.x.ai/developers/cost-tracking."""
HUGGINGFACE = Dialect(LIMITS, together=True, reports_usage=True)
"""A router: what its providers honour is not known."""
