"""Google's Agent Development Kit: Gemini by default, and other models through litellm."""

import asyncio
import json

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models.google_llm import Gemini
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


async def ask(model: object, text: str, *, stream: bool = False, **more: object) -> str:
    """The last text of a run, or with `stream` all its parts."""
    agent = LlmAgent(name="clerk", model=model, instruction="Be kind.", **more)
    runner = InMemoryRunner(agent=agent, app_name="app")
    session = await runner.session_service.create_session(app_name="app", user_id="user")
    message = types.Content(role="user", parts=[types.Part(text=text)])
    mode = RunConfig(streaming_mode=StreamingMode.SSE if stream else StreamingMode.NONE)
    said = []
    async for event in runner.run_async(user_id="user", session_id=session.id, new_message=message, run_config=mode):
        if bool(event.partial) == stream and event.content:
            said += [part.text for part in event.content.parts or () if part.text]
    return "".join(said)


async def main() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, model in (
        ("gemini", "gemini-mock-large"),
        ("chat", LiteLlm(model="openai/gpt-4o")),
        ("messages", LiteLlm(model="anthropic/claude-mock-large")),
    ):
        found[name] = await ask(model, "hello there")
        found[f"{name} stream"] = await ask(model, "hello there", stream=True)
        found[f"{name} agent"] = await ask(model, "please get_order", tools=[get_order])
    found["object"] = json.loads(await ask("gemini-mock-large", "done?", output_schema=Answer))["done"]
    try:
        await ask(Gemini(model="o3"), "hello there")
    except Exception as error:
        found["denied"] = getattr(error, "code", None)
    return found


print(json.dumps(asyncio.run(main())))
