"""pydantic-ai with what agents send besides text, through the model that is named: `openai:…` or `anthropic:…`."""

import base64
import sys
from typing import Any

from limited import HELLO, IMAGE, PDF, tell
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.capabilities import NativeTool
from pydantic_ai.native_tools import CodeExecutionTool, WebSearchTool

MODEL = sys.argv[1]
SCREENSHOT = BinaryContent(base64.b64decode(IMAGE), media_type="image/png")
DOCUMENT = BinaryContent(base64.b64decode(PDF), media_type="application/pdf")
OPENAI = MODEL.startswith("openai:")


def agent(*tools: Any, **settings: Any) -> Agent[Any, Any]:
    chosen: Any = {"max_tokens": 50, **settings}
    made = Agent(MODEL, capabilities=[NativeTool(each) for each in tools], model_settings=chosen)
    if not tools:

        @made.tool_plain
        def take_screenshot() -> BinaryContent:
            """Take a picture of the screen."""
            return SCREENSHOT

    return made


async def continued() -> None:
    first = await agent().run(HELLO)
    chosen = agent(openai_previous_response_id="auto")
    await chosen.run("again", message_history=first.all_messages())


search = WebSearchTool() if OPENAI else WebSearchTool(max_uses=2)
capped: dict[str, Any] = {"extra_body": {"max_tool_calls": 2}} if OPENAI else {}
tell(
    {
        "image": lambda: agent().run([HELLO, SCREENSHOT]),
        "image of a tool": lambda: agent().run("please take_screenshot"),
        "PDF": lambda: agent().run([HELLO, DOCUMENT]),
        "search": lambda: agent(search, **capped).run(HELLO),
        **({"earlier response": continued} if OPENAI else {}),
        "search without a cap": lambda: agent(WebSearchTool()).run(HELLO),
        "code": lambda: agent(CodeExecutionTool()).run(HELLO),
    }
)
