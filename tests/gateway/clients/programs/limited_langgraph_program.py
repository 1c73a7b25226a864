"""langgraph's agents, over `langchain_openai` or `langchain_anthropic`, with what agents send besides text."""

import sys
import warnings
from typing import Any

from langchain_core.messages import HumanMessage
from limited import HELLO, IMAGE, PDF, tell

with warnings.catch_warnings(action="ignore"):
    from langgraph.prebuilt import create_react_agent

OPENAI = sys.argv[1] == "openai"
SCREENSHOT = {"type": "image", "base64": IMAGE, "mime_type": "image/png"}
DOCUMENT = {"type": "file", "base64": PDF, "mime_type": "application/pdf", "filename": "a.pdf"}


def take_screenshot() -> list[dict[str, Any]]:
    """Take a picture of the screen."""
    return [SCREENSHOT]


def model(**members: Any) -> Any:
    if OPENAI:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="gpt-4o", use_responses_api=True, max_tokens=50, **members)
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model="claude-sonnet-4-5", max_tokens=50, **members)


async def run(tool: Any, *parts: Any, chosen: Any = None, text: str = HELLO) -> None:
    agent = create_react_agent(chosen or model(), [tool])
    await agent.ainvoke({"messages": [HumanMessage([{"type": "text", "text": text}, *parts])]})


async def continued() -> None:
    chosen = model(use_previous_response_id=True)
    messages = [HumanMessage(HELLO)]
    messages.append(await chosen.ainvoke(messages))
    await chosen.ainvoke([*messages, HumanMessage("again")])


if OPENAI:
    search: dict[str, Any] = {"type": "web_search"}
    capped: dict[str, Any] = search
    code: dict[str, Any] = {"type": "code_interpreter", "container": {"type": "auto"}}
    of_openai = {"earlier response": continued}
else:
    search = {"type": "web_search_20250305", "name": "web_search"}
    capped = {**search, "max_uses": 2}
    code = {"type": "code_execution_20250825", "name": "code_execution"}
    of_openai = {}
caps = {"model_kwargs": {"max_tool_calls": 2}} if OPENAI else {}

tell(
    {
        "image": lambda: run(take_screenshot, SCREENSHOT),
        "image of a tool": lambda: run(take_screenshot, text="please take_screenshot"),
        "PDF": lambda: run(take_screenshot, DOCUMENT),
        "search": lambda: run(capped, chosen=model(**caps)),
        **of_openai,
        "search without a cap": lambda: run(search),
        "code": lambda: run(code),
    }
)
