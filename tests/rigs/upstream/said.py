"""Shared parts of the tests in `tests/gateway/upstream/test_said.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gateway.call import Call
from gateway.upstream.providers.base import Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "policies.md").read_text("utf-8")


def read(provider: str, action: str, body: dict[str, Any], head: RequestHead | None = None) -> Call:
    family = PROVIDERS[provider]
    route = next(each for each in family.routes if each.action == action)
    params = dict.fromkeys(re.findall(r"\{(\w+)\}", route.path), "m")
    path = family.prefix + re.sub(r"\{(\w+)\}", "m", route.path)
    query = {"api-version": "2024-10-21"} if provider == "azure" else {}
    return family.read(Endpoint("u", route, path, params), head or RequestHead(query), json.dumps(body).encode())


USER = {"role": "user", "content": "hello"}
CONTENTS = [{"parts": [{"text": "hello"}]}]
PLAIN: dict[tuple[str, str], dict[str, Any]] = {
    ("openai", "chat.completions"): {"model": "m", "messages": [USER]},
    ("openrouter", "chat.completions"): {"model": "m", "messages": [USER]},
    ("azure", "chat.completions"): {"messages": [USER]},
    ("openai", "responses"): {"model": "m", "input": "hello"},
    ("openai", "responses.compact"): {"model": "m", "input": "hello"},
    ("openai", "responses.input_tokens"): {"model": "m", "input": "hello"},
    ("openai", "embeddings"): {"model": "m", "input": "hello"},
    ("openai", "moderations"): {"model": "m", "input": "hello"},
    ("openai", "completions"): {"model": "m", "prompt": "hello"},
    ("openai", "images.generations"): {"model": "m", "prompt": "hello"},
    ("openai", "audio.speech"): {"model": "m", "input": "hello", "voice": "v"},
    ("openai", "vector_stores.create"): {},
    ("openai", "vector_stores.modify"): {},
    ("openai", "vector_stores.search"): {"query": "hello"},
    ("openai", "vector_stores.files.create"): {"file_id": "f"},
    ("openai", "vector_stores.file_batches.create"): {"file_ids": ["f"]},
    ("openai", "conversations.create"): {},
    ("openai", "conversations.items.create"): {"items": []},
    ("anthropic", "messages"): {"model": "m", "max_tokens": 5, "messages": [USER]},
    ("anthropic", "messages.count_tokens"): {"model": "m", "messages": [USER]},
    ("gemini", "generate_content"): {"contents": CONTENTS},
    ("gemini", "generate_content.count_tokens"): {"contents": CONTENTS},
    ("gemini", "embed_content"): {"content": CONTENTS[0]},
}


# Members that servers other than the makers document: OpenRouter, Fireworks, Groq, xAI, Mistral, DeepSeek, Qwen.
OTHERS = (
    *("provider", "transforms", "route", "data_collection", "zdr", "session_id", "trace", "usage", "safe_prompt"),
    *(
        "search_domains",
        "citation_options",
        "include_reasoning",
        "reasoning_format",
        "deferred",
        "context_length_exceeded_behavior",
    ),
    *("perf_metrics_in_response", "ignore_eos", "enable_thinking", "vl_high_resolution_images", "user_id", "end_user"),
    *("labels", "safetySettings", "modelArmorConfig", "store", "serviceTier", "taskType", "outputDimensionality"),
)


def documented() -> set[str]:
    """The members of bodies that the installed clients know."""
    from anthropic.types import message_count_tokens_params, message_create_params
    from anthropic.types.beta import message_count_tokens_params as beta_count
    from anthropic.types.beta import message_create_params as beta_create
    from openai.types import (
        completion_create_params,
        embedding_create_params,
        image_generate_params,
        moderation_create_params,
        vector_store_create_params,
        vector_store_search_params,
        vector_stores,
    )
    from openai.types.audio import speech_create_params
    from openai.types.chat import completion_create_params as chat_create_params
    from openai.types.conversations import conversation_create_params
    from openai.types.responses import input_token_count_params, response_compact_params, response_create_params

    found: set[str] = set(OTHERS)
    for module, name in (
        (message_create_params, "MessageCreateParamsBase"),
        (message_count_tokens_params, "MessageCountTokensParams"),
        (beta_create, "MessageCreateParamsBase"),
        (beta_count, "MessageCountTokensParams"),
        (completion_create_params, "CompletionCreateParamsBase"),
        (embedding_create_params, "EmbeddingCreateParams"),
        (image_generate_params, "ImageGenerateParamsBase"),
        (moderation_create_params, "ModerationCreateParams"),
        (vector_store_create_params, "VectorStoreCreateParams"),
        (vector_store_search_params, "VectorStoreSearchParams"),
        (vector_stores.file_create_params, "FileCreateParams"),
        (speech_create_params, "SpeechCreateParams"),
        (chat_create_params, "CompletionCreateParamsBase"),
        (conversation_create_params, "ConversationCreateParams"),
        (response_create_params, "ResponseCreateParamsBase"),
        (response_compact_params, "ResponseCompactParams"),
        (input_token_count_params, "InputTokenCountParams"),
    ):
        found.update(getattr(module, name).__annotations__)
    return found - {"betas", "workspace_id", "user_profile_id"}  # which are headers


def not_judged() -> set[str]:
    section = PAGE.split("### What is not judged\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"`([A-Za-z_]+)`", section.split("| member |", 1)[1]))
