"""Every way that is known to name a second model, a stored agent, another server or more output, over every JSON route.

`SECOND` is a model that the ordinary call does not name. If it reaches a provider it must have been judged.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import azure, google
from .case import PROMPT, Case, Expect
from .routes import JSON_WAYS, Way

SECOND = "mock-second"
_S = f'"{SECOND}"'

_USER = f'"messages":[{{"role":"user","content":"{PROMPT}"}}]'
_CHAT = f'{{"model":"mock-1",{_USER}}}'
WAYS: dict[str, Way] = {
    "chat": Way(b"POST", b"/v1/chat/completions", _CHAT),
    "openrouter chat": Way(b"POST", b"/router/v1/chat/completions", _CHAT),
    "ollama chat": Way(b"POST", b"/llama/v1/chat/completions", _CHAT),
    **JSON_WAYS,
    "images": Way(b"POST", b"/v1/images/generations", f'{{"model":"mock-1","prompt":"{PROMPT}"}}'),
    "speech": Way(b"POST", b"/v1/audio/speech", f'{{"model":"mock-1","voice":"a","input":"{PROMPT}"}}'),
    "vector store": Way(b"POST", b"/v1/vector_stores", f'{{"name":"{PROMPT}"}}'),
    "vector store file": Way(b"POST", b"/v1/vector_stores/vs_1/files", f'{{"file_id":"{PROMPT}"}}'),
    "vector store batch": Way(b"POST", b"/v1/vector_stores/vs_1/file_batches", f'{{"file_ids":["{PROMPT}"]}}'),
    "vector search": Way(b"POST", b"/v1/vector_stores/vs_1/search", f'{{"query":"{PROMPT}"}}'),
    "conversation": Way(b"POST", b"/v1/conversations", f'{{"items":[{{"role":"user","content":"{PROMPT}"}}]}}'),
    "conversation items": Way(
        b"POST", b"/v1/conversations/conv_1/items", f'{{"items":[{{"role":"user","content":"{PROMPT}"}}]}}'
    ),
    **azure.DEPLOYED,
    **azure.NAMED,
    **google.WAYS,
}

_STRING = (
    "model", "Model", "MODEL", "mOdel", "model_name", "modelName", "modelId", "model_id", "modelID", "model_uri",
    "model-name",
    "model.name", "model_path", "model_version", "base_model", "target_model", "selected_model", "llm_model",
    "engine", "Engine",
    "engine_id", "deployment", "deployment_id", "deploymentId", "azure_deployment", "deployment_name", "fallback",
    "fallback_model",
    "fallbackModel", "draft_model", "speculative_model", "safety_model", "judge_model", "router_model",
    "parent_model", "adapter",
    "adapter_id", "adapter_source", "lora_path", "lora", "lora_name", "peft", "preset", "prompt_id", "promptId",
    "agent", "agent_id",
    "agentId", "assistant_id", "agent_reference", "bot_id", "custom_llm_provider", "x-model", "$model", "_model",
    "model_", "model:x",
    "endpoint_id", "inference_profile", "inferenceProfileArn", "modelArn", "virtual_key", "route",
)  # fmt: skip
_SHAPED = {
    "models": f"[{_S}]", "Models": f"[{_S}]", "fallbacks": f"[{_S}]", "fallback_models": f"[{_S}]",
    "model_list": f"[{_S}]",
    "context_window_fallbacks": f'[{{"a":[{_S}]}}]', "candidates": f'[{{"model":{_S}}}]',
    "targets": f'[{{"model":{_S}}}]',
    "extra_body": f'{{"model":{_S}}}', "extra": f'{{"model":{_S}}}', "extra_query": f'{{"model":{_S}}}',
    "params": f'{{"model":{_S}}}',
    "parameters": f'{{"model":{_S}}}', "options": f'{{"model":{_S}}}', "config": f'{{"targets":[{{"model":{_S}}}]}}',
    "override_params": f'{{"model":{_S}}}', "user_config": f'{{"model_list":[{{"model_name":{_S}}}]}}',
    "routing": f'{{"models":[{_S}]}}',
    "litellm_params": f'{{"model":{_S}}}', "provider": f'{{"model":{_S}}}',
    "providerOptions": f'{{"gateway":{{"models":[{_S}]}}}}',
    "plugins": f'[{{"id":"auto-router","allowed_models":[{_S}]}}]',
    "compound_custom": f'{{"models":{{"answering_model":{_S}}}}}',
    "prompt": f'{{"id":"pmpt_1","variables":{{"model":{_S}}}}}', "agent": f'{{"name":{_S},"type":"agent_reference"}}',
    "agent_reference": f'{{"name":{_S},"type":"agent_reference"}}',
    "data_sources": f'[{{"parameters":{{"deployment_name":{_S}}}}}]',
    "dataSources": f'[{{"parameters":{{"embedding":{{"deploymentName":{_S}}}}}}}]',
    "additionalModelRequestFields": f'{{"model":{_S}}}',
    "inferenceConfig": f'{{"model":{_S}}}', "speculation": f'{{"model":{_S}}}',
    "speculative_config": f'{{"model":{_S}}}',
    "moderation": f'{{"model":{_S}}}', "reasoning": f'{{"model":{_S}}}', "thinking": f'{{"model":{_S}}}',
    "truncation": f'{{"model":{_S}}}',
    "service_tier": f'{{"model":{_S}}}', "cache_control": f'{{"model":{_S}}}', "cachedContent": f'{{"model":{_S}}}',
    "toolConfig": f'{{"model":{_S}}}', "generationConfig": f'{{"routingConfig":{{"manualMode":{{"modelName":{_S}}}}}}}',
    "generation_config": f'{{"model_config":{{"model_name":{_S}}}}}', "modelConfig": f'{{"name":{_S}}}',
    "batch": f'[{{"body":{{"model":{_S}}}}}]',
    "requests": f'[{{"params":{{"model":{_S}}}}}]', "body": f'{{"model":{_S}}}', "input": f'{{"model":{_S}}}',
    "data": f'{{"model":{_S}}}',
    "session": f'{{"model":{_S}}}', "stream_options": f'{{"model":{_S}}}',
    "tool_choice": f'{{"type":"function","model":{_S}}}',
    "web_search_options": f'{{"model":{_S}}}', "audio": f'{{"model":{_S}}}', "transcription": f'{{"model":{_S}}}',
    "context_management": f'[{{"type":"compaction","model":{_S}}}]', "compaction": f'{{"model":{_S}}}',
    "container": f'{{"model":{_S}}}',
    "tools": f'[{{"type":"image_generation","model":{_S}}}]',
    "mcp_servers": f'[{{"name":"w","url":"https://a.example","model":{_S}}}]',
    "prediction": f'{{"type":"content","content":"a","model":{_S}}}', "partition": f'{{"by":"model","model":{_S}}}',
    "group": f'{{"members":[{{"model":{_S}}}]}}',
    "chunking_strategy": f'{{"type":"auto","model":{_S}}}', "ranking_options": f'{{"ranker":"auto","model":{_S}}}',
    "chat_template_kwargs": f'{{"model":{_S}}}',
    "vllm_xargs": f'{{"model":{_S}}}', "guardrails": f'[{{"model":{_S}}}]', "safetySettings": f'[{{"model":{_S}}}]',
    "response_format": f'{{"type":"text","model":{_S}}}',
    "documents": f'[{{"model":{_S}}}]', "search_parameters": f'{{"model":{_S}}}', "transforms": f'[{{"model":{_S}}}]',
    "usage": f'{{"model":{_S}}}',
    "$defs": f'{{"model":{_S}}}', "__proto__": f'{{"model":{_S}}}',
    "constructor": f'{{"prototype":{{"model":{_S}}}}}', "": f'{{"model":{_S}}}',
}  # fmt: skip
# Another server, somebody else's key, more output, what is stored: the ordinary call has none of them.
_OTHERS = {
    "api_base": '"https://evil.example"', "base_url": '"https://evil.example"', "api_key": '"sk-x"',
    "litellm_params": '{"api_base":"https://evil.example"}', "extra": '{"base_url":"https://evil.example"}',
    "config": '{"api_base":"https://evil.example"}', "user_config": '{"a":[{"api_key":"sk-x"}]}',
    "options": '{"num_predict":99999}', "inferenceConfig": '{"maxTokens":99999}', "virtual_key": '"vk"',
    "chat_template": '"obey"', "max_new_tokens": "99999", "n_predict": "99999",
    "custom_llm_provider": '"x"', "vector_store_ids": '["vs_1"]', "extra_state": '{"previous_response_id":"resp_1"}',
    "previousMessageId": '"msg_1"', "fileUri": '"files/x"', "agent": '"x"', "agent_reference": '{"name":"x"}',
    "prompt_id": '"x"',
}  # fmt: skip
# Prompts under the names of other APIs, and the routes that have these names.
_PROMPTS = {
    "system": '"obey"', "system_prompt": '"obey"', "instructions": '"obey"', "prompt": '{"id":"pmpt_1"}',
    "messages": '[{"role":"system","content":"obey"}]',
}  # fmt: skip
_PROMPTED = ("chat", "ollama chat", "responses", "messages", "azure chat", "azure v1 responses")
_DOCUMENTED = {("responses", "instructions"), ("azure v1 responses", "instructions"), ("messages", "system")}


def cases() -> Iterator[Case]:
    for route, way in WAYS.items():
        members = {
            **{f"`{name}`": (name, _S) for name in _STRING},
            **{f"`{name}` as {value[:24]}": (name, value) for name, value in _SHAPED.items()},
        }
        for note, (name, value) in members.items():
            if f'"{name}":' not in way.body:
                yield Case(f"named twice, {route}: {note}", way.sent(body=f'{way.body[:-1]},"{name}":{value}}}'))
        for name in ("plugins", "preset", "search_parameters"):
            value = {"plugins": '[{"id":"web"}]', "preset": '"x"'}.get(name, '{"mode":"on"}')
            expect: Expect = "either" if "chat" in route else "refused"
            yield Case(f"not judged, {route}: `{name}`", way.sent(body=f'{way.body[:-1]},"{name}":{value}}}'), expect)
        for name, value in _OTHERS.items():
            yield Case(
                f"not judged, {route}: `{name}`", way.sent(body=f'{way.body[:-1]},"{name}":{value}}}'), "refused"
            )
        if '"model":"mock-1"' in way.body:
            yield from _values(route, way)
        for spelling in (
            "model",
            "\\u006dodel",
            "mode\\u006c",
            "\\u006d\\u006f\\u0064\\u0065\\u006c",
            "MODEL",
            "Model",
        ):
            sent = way.sent(body=f'{{"{spelling}":{_S},{way.body[1:]}')
            # The deployment takes its place.
            moved = route in azure.DEPLOYED and spelling not in ("MODEL", "Model")
            yield Case(f"named twice, {route}: `{spelling}` first", sent, "either" if moved else "refused")
    for route in _PROMPTED:
        for name, value in _PROMPTS.items():
            if (route, name) not in _DOCUMENTED and f'"{name}":' not in WAYS[route].body:
                sent = WAYS[route].sent(body=f'{WAYS[route].body[:-1]},"{name}":{value}}}')
                yield Case(f"not judged, {route}: `{name}`", sent, "refused")


def _values(route: str, way: Way) -> Iterator[Case]:
    """The model itself, in values that hold two."""
    for value in (
        f'"mock-1,{SECOND}"', f'"mock-1|{SECOND}"', f'["mock-1",{_S}]', f'{{"0":"mock-1","1":{_S}}}',
        f'"mock-1\\u0000{SECOND}"',
        f'"mock-1\\n{SECOND}"', f'"mock-1 {SECOND}"', f'"mock-1;{SECOND}"', f'"mock-1\\",\\"model\\":\\"{SECOND}"',
        f'"mock-1@{SECOND}"',
        f'"mock-1#{SECOND}"', f'"mock-1/../{SECOND}"', f'"mock-1?model={SECOND}"', f'"mock-1&model={SECOND}"',
        f'"{SECOND}:mock-1"',
    ):  # fmt: skip
        body = way.body.replace('"model":"mock-1"', f'"model":{value}')
        yield Case(f"named twice, {route}: model {value}", way.sent(body=body))
    # Routers take a tool and a stored preset in a model's name.
    for value in ("mock-1:online", "mock-1:Online", "@preset/mock-1", "mock-1@preset/x", "@PRESET/mock-1"):
        body = way.body.replace('"model":"mock-1"', f'"model":"{value}"')
        judged = "chat" in route and value == value.lower()
        yield Case(f"not judged, {route}: model {value}", way.sent(body=body), "either" if judged else "refused")


def hidden(body: bytes, judged_models: list[str]) -> list[str]:
    """True if a body holds the second model although it was not judged."""
    if SECOND.encode() not in body or any(SECOND in each for each in judged_models):
        return []
    return [f"{SECOND} stands in the body and was not judged: {body[:200]!r}"]
