"""Semantic Kernel's agents."""

import asyncio
import json
import os

import openai
from pydantic import BaseModel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.functions import KernelArguments, kernel_function


class Answer(BaseModel):
    done: bool


class Orders:
    @kernel_function(name="get_order", description="Find an order.")
    def get_order(self, number: str) -> str:
        return f"{number} shipped"


async def main() -> dict[str, object]:
    found: dict[str, object] = {}
    service = OpenAIChatCompletion(ai_model_id="gpt-4o", api_key=os.environ["OPENAI_API_KEY"])
    agent = ChatCompletionAgent(service=service, name="clerk", plugins=[Orders()])
    found["chat"] = str(await agent.get_response(messages="hello there"))
    pieces = [str(piece.content) async for piece in agent.invoke_stream(messages="hello there")]
    found["chat stream"] = "".join(pieces)
    found["chat agent"] = str(await agent.get_response(messages="please Orders-get_order"))
    shape = KernelArguments(settings=OpenAIChatPromptExecutionSettings(response_format=Answer))
    plain = ChatCompletionAgent(service=service, name="plain")
    found["object"] = json.loads(str(await plain.get_response(messages="done?", arguments=shape)))["done"]
    other = OpenAIChatCompletion(ai_model_id="o3", api_key=os.environ["OPENAI_API_KEY"])
    try:
        await ChatCompletionAgent(service=other, name="other").get_response(messages="hello there")
    except Exception as error:
        found["denied"] = isinstance(error.__cause__, openai.PermissionDeniedError)
    return found


print(json.dumps(asyncio.run(main())))
