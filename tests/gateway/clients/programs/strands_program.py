"""Strands Agents, with OpenAI's two APIs and that of Anthropic."""

import asyncio
import json
import os

from pydantic import BaseModel
from strands import Agent, tool
from strands.models.anthropic import AnthropicModel
from strands.models.openai import OpenAIModel
from strands.models.openai_responses import OpenAIResponsesModel


class Answer(BaseModel):
    done: bool


@tool
def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


async def streamed(agent: Agent) -> str:
    return "".join([event["data"] async for event in agent.stream_async("hello there") if "data" in event])


known = {"api_key": os.environ["OPENAI_API_KEY"], "base_url": os.environ["OPENAI_BASE_URL"]}
found: dict[str, object] = {}
for name, model in (
    ("chat", OpenAIModel(client_args=known, model_id="gpt-4o")),
    ("responses", OpenAIResponsesModel(client_args=known, model_id="gpt-4o")),
    ("messages", AnthropicModel(model_id="claude-mock-large", max_tokens=1000)),
):
    found[name] = str(Agent(model=model, callback_handler=None)("hello there")).strip()
    found[f"{name} stream"] = asyncio.run(streamed(Agent(model=model, callback_handler=None)))
    working = Agent(model=model, tools=[get_order], callback_handler=None)
    found[f"{name} agent"] = str(working("please get_order")).strip()
    shaped = Agent(model=model, callback_handler=None)
    found[f"{name} object"] = shaped("done?", structured_output_model=Answer).structured_output.done
try:
    Agent(model=OpenAIModel(client_args=known, model_id="o3"), callback_handler=None)("hello there")
except Exception as error:
    found["denied"] = getattr(error, "status_code", None)
print(json.dumps(found))
