"""langchain-openai, with a langgraph agent."""

import json

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.prebuilt import create_react_agent


@tool
def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


found = {}
for name, responses in (("chat", False), ("responses", True)):
    model = ChatOpenAI(model="gpt-4o", use_responses_api=responses)
    answer = model.invoke("hello there")
    found[name] = answer.text
    found[f"{name} usage"] = answer.usage_metadata["output_tokens"]
    found[f"{name} stream"] = "".join(chunk.text for chunk in model.stream("hello there"))
    found[f"{name} tools"] = model.bind_tools([get_order]).invoke("please get_order").tool_calls[0]["name"]
    agent = create_react_agent(model, [get_order])
    found[f"{name} agent"] = agent.invoke({"messages": [("user", "please get_order")]})["messages"][-1].text
# Counting tokens would fetch a table from the network.
embeddings = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False)
found["embeddings"] = len(embeddings.embed_query("hello"))
try:
    ChatOpenAI(model="o3").invoke("hello there")
except Exception as error:
    found["denied"] = getattr(error, "status_code", None)
print(json.dumps(found))
