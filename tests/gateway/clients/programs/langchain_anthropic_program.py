"""langchain-anthropic, with a langgraph agent."""

import json

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent


@tool
def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


model = ChatAnthropic(model="claude-mock-large")
answer = model.invoke("hello there")
found = {"chat": answer.text, "chat usage": answer.usage_metadata["output_tokens"]}
found["chat stream"] = "".join(chunk.text for chunk in model.stream("hello there"))
found["chat tools"] = model.bind_tools([get_order]).invoke("please get_order").tool_calls[0]["name"]
agent = create_react_agent(model, [get_order])
found["chat agent"] = agent.invoke({"messages": [("user", "please get_order")]})["messages"][-1].text
try:
    ChatAnthropic(model="o3").invoke("hello there")
except Exception as error:
    found["denied"] = getattr(error, "status_code", None)
print(json.dumps(found))
