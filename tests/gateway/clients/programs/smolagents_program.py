"""smolagents: its model of OpenAI's API, and an agent that calls tools."""

import json

from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def get_order(number: str) -> str:
    """Find an order.

    Args:
        number: the number of the order
    """
    return f"{number} shipped"


found: dict[str, object] = {}
model = OpenAIModel(model_id="gpt-4o")
hello = [{"role": "user", "content": [{"type": "text", "text": "hello there"}]}]
found["chat"] = model.generate(hello).content
found["chat stream"] = "".join(piece.content or "" for piece in model.generate_stream(hello))
agent = ToolCallingAgent(tools=[get_order], model=model, max_steps=1, verbosity_level=0)
agent.run("please get_order")
found["tools"] = [call.name for step in agent.memory.steps for call in getattr(step, "tool_calls", None) or ()]
try:
    ToolCallingAgent(tools=[], model=OpenAIModel(model_id="o3"), verbosity_level=0).run("hello there")
except Exception as error:
    found["denied"] = "no policy allows " in str(error)
print(json.dumps(found))
