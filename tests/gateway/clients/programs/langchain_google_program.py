"""LangChain's models of Gemini."""

import json
import os

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


@tool
def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


base_url = os.environ["GEMINI_BASE_URL"]
found: dict[str, object] = {}
model = ChatGoogleGenerativeAI(model="gemini-mock-large", base_url=base_url)
answer = model.invoke("hello there")
found["chat"] = answer.text
found["chat usage"] = answer.usage_metadata["output_tokens"]
found["chat stream"] = "".join(piece.text for piece in model.stream("hello there"))
working, said = model.bind_tools([get_order]), [HumanMessage("please get_order")]
said.append(working.invoke(said))
[call] = said[-1].tool_calls
said.append(ToolMessage(get_order.invoke(call["args"]), tool_call_id=call["id"], name=call["name"]))
found["chat agent"] = working.invoke(said).text
found["object"] = model.with_structured_output(Answer).invoke("done?").done
embedder = GoogleGenerativeAIEmbeddings(model="gemini-embedding-001", base_url=base_url)
found["embeddings"] = len(embedder.embed_query("hello"))
try:
    ChatGoogleGenerativeAI(model="o3", base_url=base_url).invoke("hello there")
except Exception as error:
    found["denied"] = "no policy allows " in str(error)
print(json.dumps(found))
