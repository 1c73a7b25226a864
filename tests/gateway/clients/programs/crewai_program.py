"""CrewAI: a model by itself, and a crew of one agent with a tool."""

import json

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("get_order")
def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


def crew(model: LLM, text: str) -> Crew:
    clerk = Agent(role="Clerk", goal="Find orders", backstory="You know all orders.", tools=[get_order], llm=model)
    return Crew(agents=[clerk], tasks=[Task(description=text, expected_output="a sentence", agent=clerk)])


found: dict[str, object] = {}
for name, model in (("chat", "openai/gpt-4o"), ("messages", "anthropic/claude-mock-large")):
    plain = LLM(model=model)
    found[name] = plain.call("hello there")
    found[f"{name} usage"] = plain.get_token_usage_summary().completion_tokens
    found[f"{name} stream"] = LLM(model=model, stream=True).call("hello there")
    found[f"{name} agent"] = crew(LLM(model=model), "please get_order").kickoff().raw
try:
    LLM(model="openai/o3").call("hello there")
except Exception as error:
    found["denied"] = getattr(error, "status_code", None)
print(json.dumps(found))
