"""Agno, in the words of OpenAI's two APIs and of Groq."""

import json
import os

from agno.agent import Agent
from agno.models.groq import Groq
from agno.models.openai import OpenAIChat, OpenAIResponses
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


found: dict[str, object] = {}
for name, model in (
    ("chat", OpenAIChat(id="gpt-4o")),
    ("responses", OpenAIResponses(id="gpt-4o")),
    ("groq", Groq(id="gpt-4o", api_key=os.environ["OPENAI_API_KEY"], base_url=os.environ["GROQ_BASE_URL"])),
):
    found[name] = Agent(model=model, telemetry=False).run("hello there").content
    events = Agent(model=model, telemetry=False).run("hello there", stream=True)
    found[f"{name} stream"] = "".join(event.content or "" for event in events if event.event == "RunContent")
    working = Agent(model=model, tools=[get_order], instructions="Be kind.", telemetry=False)
    found[f"{name} agent"] = working.run("please get_order").content
answer = Agent(model=OpenAIResponses(id="gpt-4o"), output_schema=Answer, telemetry=False).run("done?").content
found["object"] = answer.done
# A failure ends the run, with the error's text in place of an answer.
found["denied"] = Agent(model=OpenAIChat(id="o3"), telemetry=False).run("hello there").content
print(json.dumps(found))
