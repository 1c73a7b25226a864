"""openai-agents with what agents send besides text: each call under the limit that the agent has."""

from typing import Any

from agents import Agent, CodeInterpreterTool, ModelSettings, Runner, ToolOutputImage, WebSearchTool, function_tool
from limited import HELLO, IMAGE_URL, PDF_URL, tell


@function_tool
def take_screenshot() -> ToolOutputImage:
    """Take a picture of the screen."""
    return ToolOutputImage(image_url=IMAGE_URL)


def agent(*tools: Any, **settings: Any) -> Agent[Any]:
    chosen = ModelSettings(max_tokens=50, **settings)
    return Agent(name="limited", instructions=HELLO, model="gpt-4o", tools=[*tools], model_settings=chosen)


async def run(asked: Agent[Any], *parts: Any, **options: Any) -> Any:
    text = {"type": "input_text", "text": "please take_screenshot"}
    given: Any = [{"role": "user", "content": [text, *parts]}] if parts else text["text"]
    return await Runner.run(asked, given, **options)


async def streamed() -> None:
    result = Runner.run_streamed(agent(take_screenshot), "please take_screenshot")
    async for _ in result.stream_events():
        pass


async def continued() -> None:
    first = await run(agent())
    assert first.last_response_id
    await run(agent(), previous_response_id=first.last_response_id)


tell(
    {
        "image": lambda: run(agent(), {"type": "input_image", "image_url": IMAGE_URL, "detail": "auto"}),
        "image of a tool": lambda: run(agent(take_screenshot)),
        "image of a tool in a stream": streamed,
        "PDF": lambda: run(agent(), {"type": "input_file", "filename": "a.pdf", "file_data": PDF_URL}),
        "search": lambda: run(agent(WebSearchTool(), extra_args={"max_tool_calls": 2})),
        "earlier response": continued,
        "earlier responses of a run": lambda: run(agent(take_screenshot), auto_previous_response_id=True),
        "search without a cap": lambda: run(agent(WebSearchTool())),
        "code": lambda: run(
            agent(CodeInterpreterTool({"type": "code_interpreter", "container": {"type": "auto"}})),
        ),
    }
)
