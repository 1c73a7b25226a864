"""LlamaIndex with OpenAI's two APIs."""

import asyncio
import json
import os

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


async def work(model: OpenAI | OpenAIResponses) -> str:
    agent = FunctionAgent(tools=[get_order], llm=model, system_prompt="Be kind.")
    return str(await agent.run("please get_order"))


base_url = os.environ["OPENAI_BASE_URL"]  # left to itself, it looks into OPENAI_API_BASE
found: dict[str, object] = {}
hello = [ChatMessage(role="user", content="hello there")]
for name, kind in (("chat", OpenAI), ("responses", OpenAIResponses)):
    model = kind(model="gpt-4o", api_base=base_url)
    found[name] = model.chat(hello).message.content
    found[f"{name} stream"] = "".join(piece.delta or "" for piece in model.stream_chat(hello))
    found[f"{name} agent"] = asyncio.run(work(model))
    found[f"{name} object"] = model.as_structured_llm(Answer).chat(hello).raw.done
    try:
        kind(model="o3", api_base=base_url).chat(hello)
    except Exception as error:
        found[f"{name} denied"] = getattr(error, "status_code", None)
print(json.dumps(found))
