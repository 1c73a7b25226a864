"""The providers by the names under which upstreams are added: a family of APIs, and whose dialect of it.

Where their makers serve them is `gateway/registry/names.py`, because that is fixed when an upstream is added.
"""

from __future__ import annotations

from gateway.upstream.providers.anthropic.provider import Anthropic
from gateway.upstream.providers.base import Provider
from gateway.upstream.providers.openai.dialects import EITHER, OLDER, OPENAI
from gateway.upstream.providers.openai.provider import OpenAI

PROVIDERS: dict[str, Provider] = {
    "openai": OpenAI(OPENAI),
    "anthropic": Anthropic(),
    "openai-compatible": OpenAI(EITHER),
    "deepseek": OpenAI(OLDER),
    "groq": OpenAI(OPENAI),
    "mistral": OpenAI(OLDER),
    "ollama": OpenAI(OLDER),
    "openrouter": OpenAI(EITHER),
    "together": OpenAI(OLDER),
    "vllm": OpenAI(EITHER),
}
