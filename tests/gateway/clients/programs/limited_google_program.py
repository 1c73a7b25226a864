"""google-genai with what agents send besides text."""

import base64
from typing import Any

from google import genai
from google.genai import types
from limited import HELLO, IMAGE, PDF, tell

client = genai.Client()
SCREENSHOT = types.Part.from_bytes(data=base64.b64decode(IMAGE), mime_type="image/png")
DOCUMENT = types.Part.from_bytes(data=base64.b64decode(PDF), mime_type="application/pdf")


async def run(*parts: Any, **members: Any) -> None:
    config = types.GenerateContentConfig(max_output_tokens=50, **members)
    contents: Any = [HELLO, *parts]
    await client.aio.models.generate_content(model="gemini-2.5-flash", contents=contents, config=config)


tell(
    {
        "image": lambda: run(SCREENSHOT),
        "PDF": lambda: run(DOCUMENT),
        "search without a cap": lambda: run(tools=[types.Tool(google_search=types.GoogleSearch())]),
        "code": lambda: run(tools=[types.Tool(code_execution=types.ToolCodeExecution())]),
    }
)
