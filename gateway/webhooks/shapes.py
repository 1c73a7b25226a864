"""The bodies of deliveries in the shapes that Slack and Teams take (pure).

`generic` is the event as it is (`events.py`), which is signed. `slack` is a message of Block Kit for an incoming
webhook, `teams` an Adaptive Card for a workflow that is started by a webhook. These receivers check no signature:
whoever knows the URL may post, so the URL is the secret. They are told what people need, in short: never the body of a
call.

Names and reasons are written by others. So they stand only where a receiver takes text as it is: in `plain_text` of
Slack, whose control characters are escaped, and in a `TextRun` of Teams, which knows no Markdown. Each hidden
character is made visible, and each text is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from gateway.audit import grants
from gateway.registry.documents import timestamp

_TITLE, _FACT, _FACTS = 140, 400, 10
"""The longest title and fact, and the most facts: Slack takes 150, 2000 and 10."""
_LINK: Final = "Open the request; it asks you to log in"
_REASONS: Final = 5


def message(shape: str, event: str, data: Mapping[str, Any]) -> bytes:
    """The body of an event in one of these shapes; `data` is that of the generic one, whose `url` is a page."""
    title, facts = _title(event, data), [*_facts(event, data)][:_FACTS]
    url = data.get("url")
    made = _slack(title, facts, url) if shape == "slack" else _teams(title, facts, url)
    return orjson.dumps(made)


def _title(event: str, data: Mapping[str, Any]) -> str:
    agent = data.get("agent_name") or data.get("agent") or "an agent"
    if event == grants.REQUESTED:
        return _shown(f"{agent} asks for an approval", _TITLE)
    if event == grants.ESCALATED:
        return _shown(f"{agent} still waits for an approval", _TITLE)
    if event == grants.DECIDED:
        return _shown(f"approval for {agent}: {data.get('outcome')}", _TITLE)
    return _shown(event, _TITLE)


def _facts(event: str, data: Mapping[str, Any]) -> Iterator[str]:
    """What people need to know, a line each."""
    yield from _named(data, organization="Organization", agent_name="Agent", owner="Owner", team="Team")
    if event in (grants.REQUESTED, grants.ESCALATED):
        model = data.get("model")
        yield _fact("Call", f"{data.get('action')} of {model}" if model else f"{data.get('method')} {data.get('path')}")
        yield from _named(data, upstream="Upstream")
        demanded = data.get("approvals")
        for each in (demanded if isinstance(demanded, list) else [])[:_REASONS]:
            yield _fact("Why", each.get("reason") if isinstance(each, dict) else each)
    elif event == grants.DECIDED:
        yield from _named(data, outcome="Outcome", actor="By", reason="Reason")
    else:
        for name, value in data.items():
            if name not in ("organization", "agent_name", "owner", "team", "url") and value not in (None, ""):
                yield _fact(name.replace("_", " "), value)
    if str(data.get("expires_ns") or "").isdecimal():
        yield _fact("Until", timestamp(int(data["expires_ns"])))
    yield from _named(data, approval="Request")


def _named(data: Mapping[str, Any], **names: str) -> Iterator[str]:
    for name, shown in names.items():
        if data.get(name) not in (None, ""):
            yield _fact(shown, data[name])


def _fact(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return _shown(f"{name}: {text}", _FACT)


def _shown(text: str, most: int) -> str:
    """One line of at most so many characters, none of which is hidden or turns the others around."""
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in " ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def _slack(title: str, facts: list[str], url: Any) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(title)},
        {"type": "section", "fields": [_plain(each) for each in facts]},
    ]
    if url:
        link = {"type": "mrkdwn", "text": f"<{url}|{_LINK}>", "verbatim": True}
        blocks.append({"type": "section", "text": link})
    return {"text": _escaped(title), "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": _escaped(text), "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(title: str, facts: list[str], url: Any) -> dict[str, Any]:
    first = {"type": "TextRun", "text": _unbraced(title), "weight": "Bolder", "size": "Medium"}
    lines = [[first], *([{"type": "TextRun", "text": _unbraced(each)}] for each in facts)]
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": each} for each in lines],
    }
    if url:
        card["actions"] = [{"type": "Action.OpenUrl", "title": _LINK, "url": url}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _unbraced(text: str) -> str:
    """Double braces are functions of cards, such as `{{DATE(…)}}`."""
    return re.sub(r"\{(?=\{)|\}(?=\})", r"\g<0> ", text)
