"""Instructor, which makes objects of answers, over three APIs."""

import json

import instructor
from pydantic import BaseModel


class Answer(BaseModel):
    done: bool


ASK = [{"role": "user", "content": "done?"}]
found: dict[str, object] = {}
for name, model in (("openai", "gpt-4o"), ("anthropic", "claude-mock-large"), ("google", "gemini-mock-large")):
    client = instructor.from_provider(f"{name}/{model}")
    found[name] = client.chat.completions.create(response_model=Answer, messages=ASK).done
    found[f"{name} stream"] = list(client.chat.completions.create_partial(response_model=Answer, messages=ASK))[-1].done
    try:
        client.chat.completions.create(model="o3", response_model=Answer, messages=ASK)
    except Exception as error:
        found[f"{name} denied"] = "no policy allows " in str(error)
print(json.dumps(found))
