"""Haystack's generators for chat completions and responses, and its agent."""

import json
import os
from typing import Annotated

from haystack.components.agents import Agent
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


@tool
def get_order(number: Annotated[str, "the number of the order"]) -> str:
    """Find an order."""
    return f"{number} shipped"


found: dict[str, object] = {}
hello = [ChatMessage.from_user("hello there")]
for name, kind in (("chat", OpenAIChatGenerator), ("responses", OpenAIResponsesChatGenerator)):
    base_url = os.environ["OPENAI_BASE_URL"]
    found[name] = kind(model="gpt-4o", api_base_url=base_url).run(hello)["replies"][0].text
    pieces: list[str] = []
    streaming = kind(model="gpt-4o", streaming_callback=lambda chunk, into=pieces: into.append(chunk.content))
    streaming.run(hello)
    found[f"{name} stream"] = "".join(pieces)
    agent = Agent(chat_generator=kind(model="gpt-4o"), tools=[get_order])
    found[f"{name} agent"] = agent.run(messages=[ChatMessage.from_user("please get_order")])["messages"][-1].text
    try:
        kind(model="o3").run(hello)
    except Exception as error:
        found[f"{name} denied"] = getattr(error, "status_code", None)
shaped = OpenAIChatGenerator(model="gpt-4o", generation_kwargs={"response_format": Answer})
found["object"] = json.loads(shaped.run([ChatMessage.from_user("done?")])["replies"][0].text)["done"]
found["embeddings"] = len(OpenAITextEmbedder(model="text-embedding-3-small").run("hello")["embedding"])
print(json.dumps(found))
