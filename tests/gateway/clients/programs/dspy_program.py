"""DSPy, which calls litellm: its models are told where to call, and its programs stay as they are."""

import json
import os

import dspy


def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


gemini = {"api_base": f"{os.environ['GEMINI_BASE_URL']}/v1beta", "cache": False}
found: dict[str, object] = {}
for name, model in (
    ("chat", dspy.LM("openai/gpt-4o", cache=False)),
    ("responses", dspy.LM("openai/gpt-4o", model_type="responses", cache=False)),
    ("messages", dspy.LM("anthropic/claude-mock-large", cache=False)),
    ("gemini", dspy.LM("gemini/gemini-mock-large", **gemini)),
):
    [answer] = model("hello there")
    found[name] = answer["text"] if isinstance(answer, dict) else answer
dspy.configure(lm=dspy.LM("openai/gpt-4o", cache=False), adapter=dspy.JSONAdapter())
found["object"] = dspy.Predict("question -> done: bool")(question="done?").done
try:
    dspy.LM("openai/o3", cache=False, temperature=1.0, max_tokens=16000)("hello there")
except Exception as error:
    found["denied"] = "no policy allows " in str(error)
print(json.dumps(found))
