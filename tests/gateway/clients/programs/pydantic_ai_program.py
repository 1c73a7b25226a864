"""pydantic-ai by the names of its models: `openai:`, `openai-chat:` and `anthropic:`."""

import asyncio
import json
import sys

from pydantic_ai import Agent


async def main(provider: str, model: str) -> dict[str, object]:
    agent = Agent(f"{provider}:{model}")

    @agent.tool_plain
    def get_order(number: str) -> str:
        """Find an order."""
        return f"{number} shipped"

    result = await agent.run("hello there")
    usage = result.usage() if callable(result.usage) else result.usage
    found: dict[str, object] = {"chat": result.output, "chat usage": usage.output_tokens}
    async with agent.run_stream("hello there") as stream:
        found["chat stream"] = "".join([piece async for piece in stream.stream_text(delta=True)])
    found["chat agent"] = (await agent.run("please get_order")).output
    try:
        await Agent(f"{provider}:o3").run("hello there")
    except Exception as error:
        found["denied"] = getattr(error, "status_code", None)
    return found


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
