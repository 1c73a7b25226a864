"""The providers by the names under which upstreams are added: a family of APIs, and whose dialect of it.

The addresses at which their makers serve them are in `gateway/registry/names.py`, because that is fixed when an
upstream is added.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.a2a import cards
from gateway.upstream.providers.a2a.provider import A2a
from gateway.upstream.providers.anthropic.provider import Anthropic
from gateway.upstream.providers.azure import Azure
from gateway.upstream.providers.base import Provider
from gateway.upstream.providers.gemini.provider import Gemini
from gateway.upstream.providers.mcp.provider import Mcp
from gateway.upstream.providers.openai import rejections
from gateway.upstream.providers.openai.dialects import (
    EITHER,
    HUGGINGFACE,
    MISTRAL,
    OLDER,
    OLDER_FIRST,
    OPENAI,
    OPENROUTER,
    XAI,
)
from gateway.upstream.providers.openai.provider import OpenAI

PROVIDERS: dict[str, Provider] = {
    "openai": OpenAI(OPENAI),
    "anthropic": Anthropic(),
    "gemini": Gemini(),
    "azure": Azure(replace(OPENAI, reject=rejections.azure)),
    "openai-compatible": OpenAI(EITHER),
    "bedrock-compatible": OpenAI(replace(EITHER, reject=rejections.bedrock)),
    "cerebras": OpenAI(EITHER),
    "deepseek": OpenAI(OLDER),
    "fireworks": OpenAI(replace(OLDER_FIRST, reject=rejections.fireworks)),
    "gemini-compatible": OpenAI(OPENAI),
    "groq": OpenAI(replace(OPENAI, reject=rejections.groq)),
    "huggingface": OpenAI(HUGGINGFACE),
    "mcp": Mcp(),
    cards.PROVIDER: A2a(),
    "mistral": OpenAI(MISTRAL),
    "ollama": OpenAI(OLDER),
    "openrouter": OpenAI(OPENROUTER),
    "together": OpenAI(replace(OLDER, reject=rejections.together)),
    "vertex": Gemini(),
    "vllm": OpenAI(EITHER),
    "xai": OpenAI(XAI),
    "zai": OpenAI(replace(OLDER, reject=rejections.zai)),
}
