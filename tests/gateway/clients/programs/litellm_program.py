"""litellm as a client, in the words of three APIs."""

import json

import litellm

HELLO = [{"role": "user", "content": "hello there"}]
ORDER = [{"role": "user", "content": "please get_order"}]
PARAMETERS = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
TOOLS = [{"type": "function", "function": {"name": "get_order", "parameters": PARAMETERS}}]

found: dict[str, object] = {}
for name, model in (("chat", "openai/gpt-4o"), ("messages", "anthropic/claude-mock-large")):
    answer = litellm.completion(model=model, messages=HELLO)
    found[name] = answer.choices[0].message.content
    found[f"{name} usage"] = answer.usage.completion_tokens
    stream = litellm.completion(model=model, messages=HELLO, stream=True)
    found[f"{name} stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    called = litellm.completion(model=model, messages=ORDER, tools=TOOLS).choices[0].message.tool_calls
    found[f"{name} tools"] = called[0].function.name
    try:
        litellm.completion(model=model.partition("/")[0] + "/o3", messages=HELLO)
    except Exception as error:
        found[f"{name} denied"] = getattr(error, "status_code", None)
found["responses"] = litellm.responses(model="openai/gpt-4o", input="hello there").output[0].content[0].text
found["embeddings"] = len(
    litellm.embedding(model="openai/text-embedding-3-small", input=["hello"]).data[0]["embedding"]
)
print(json.dumps(found))
