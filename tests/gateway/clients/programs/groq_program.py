"""Groq's own package and LangChain's on top of it. Their base URL is that of the upstream, without a version."""

import json
import os

import groq
from langchain_groq import ChatGroq

HELLO = [{"role": "user", "content": "hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}]

found: dict[str, object] = {}
client = groq.Groq(api_key=os.environ["OPENAI_API_KEY"])  # the base URL is in GROQ_BASE_URL
answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)
found["chat"] = answer.choices[0].message.content
found["chat usage"] = answer.usage.completion_tokens
stream = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
found["chat stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
order = [{"role": "user", "content": "please get_order"}]
called = client.chat.completions.create(model="gpt-4o", messages=order, tools=TOOLS).choices[0].message
found["chat tools"] = called.tool_calls[0].function.name
found["models"] = "gpt-4o" in {model.id for model in client.models.list().data}
try:
    client.chat.completions.create(model="o3", messages=HELLO)
except groq.PermissionDeniedError as error:
    found["denied"] = error.status_code
model = ChatGroq(model="gpt-4o", api_key=os.environ["OPENAI_API_KEY"])
found["langchain"] = model.invoke("hello there").content
found["langchain stream"] = "".join(piece.content for piece in model.stream("hello there"))
print(json.dumps(found))
