"""Mistral's own package. Its base URL is that of the upstream, without the version, which the package adds."""

import json
import os

from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


HELLO = [{"role": "user", "content": "hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}]
client = Mistral(api_key=os.environ["OPENAI_API_KEY"], server_url=os.environ["MISTRAL_BASE_URL"])

found: dict[str, object] = {}
answer = client.chat.complete(model="gpt-4o", messages=HELLO)
found["chat"] = answer.choices[0].message.content
found["chat usage"] = answer.usage.completion_tokens
stream = client.chat.stream(model="gpt-4o", messages=HELLO)
found["chat stream"] = "".join(each.data.choices[0].delta.content or "" for each in stream if each.data.choices)
order: list[object] = [{"role": "user", "content": "please get_order"}]
called = client.chat.complete(model="gpt-4o", messages=order, tools=TOOLS, tool_choice="any").choices[0].message
result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "name": "get_order", "content": "mock shipped"}
answer = client.chat.complete(model="gpt-4o", messages=[*order, called, result], tools=TOOLS)
found["chat agent"] = answer.choices[0].message.content
found["object"] = client.chat.parse(Answer, model="gpt-4o", messages=HELLO).choices[0].message.parsed.done
try:
    client.chat.complete(model="o3", messages=HELLO)
except SDKError as error:
    found["denied"] = error.status_code
print(json.dumps(found))
