"""openai-agents in its default mode, which is the Responses API."""

import asyncio
import json

from agents import Agent, Runner, function_tool


@function_tool
def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


async def main() -> dict[str, object]:
    plain = Agent(name="plain", instructions="Be kind.", model="gpt-4o")
    result = await Runner.run(plain, "hello there")
    found: dict[str, object] = {"chat": result.final_output}
    found["chat usage"] = result.context_wrapper.usage.output_tokens
    streamed = Runner.run_streamed(plain, "hello there")
    pieces = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    found["chat stream"] = "".join(pieces)
    working = Agent(name="working", model="gpt-4o", tools=[get_order])
    found["chat agent"] = (await Runner.run(working, "please get_order")).final_output
    try:
        await Runner.run(Agent(name="other", model="o3"), "hello there")
    except Exception as error:
        found["denied"] = getattr(error, "status_code", None)
    return found


print(json.dumps(asyncio.run(main())))
