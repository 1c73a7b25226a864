"""AutoGen: its client of OpenAI's API by itself, and an assistant with a tool."""

import asyncio
import json

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient

HELLO = [UserMessage(content="hello there", source="user")]


async def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


async def main() -> dict[str, object]:
    client = OpenAIChatCompletionClient(model="gpt-4o-2024-08-06")
    answer = await client.create(HELLO)
    found: dict[str, object] = {"chat": answer.content, "chat usage": answer.usage.completion_tokens}
    pieces = [piece async for piece in client.create_stream(HELLO, include_usage=True)]
    found["chat stream"] = "".join(piece for piece in pieces if isinstance(piece, str))
    found["chat stream usage"] = pieces[-1].usage.completion_tokens
    agent = AssistantAgent("clerk", model_client=client, tools=[get_order], reflect_on_tool_use=True)
    found["chat agent"] = (await agent.run(task="please get_order")).messages[-1].content
    await client.close()
    other = OpenAIChatCompletionClient(model="o3")
    try:
        await other.create(HELLO)
    except Exception as error:
        found["denied"] = getattr(error, "status_code", None)
    await other.close()
    return found


print(json.dumps(asyncio.run(main())))
