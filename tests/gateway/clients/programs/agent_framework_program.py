"""Microsoft's Agent Framework: its client for responses, which is its default, and that for chat completions."""

import asyncio
import json

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


async def main() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, kind in (("responses", OpenAIChatClient), ("chat", OpenAIChatCompletionClient)):
        client = kind(model="gpt-4o")
        plain = Agent(client=client, instructions="Be kind.")
        found[name] = (await plain.run("hello there")).text
        stream = plain.run("hello there", stream=True)
        pieces = [piece async for piece in stream]
        # Its last piece has the whole text once more, in place of the others.
        found[f"{name} stream"] = (await stream.get_final_response()).text if len(pieces) > 2 else ""
        working = Agent(client=client, tools=[get_order])
        found[f"{name} agent"] = (await working.run("please get_order")).text
        found[f"{name} object"] = (await plain.run("done?", options={"response_format": Answer})).value.done
        try:
            await Agent(client=kind(model="o3")).run("hello there")
        except Exception as error:
            found[f"{name} denied"] = getattr(error.__cause__, "status_code", None)
    return found


print(json.dumps(asyncio.run(main())))
