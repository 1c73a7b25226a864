"""Messages for Slack and Teams: what people need, names as they are written, no secret shown."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.audit import grants
from gateway.registry.webhooks import followed
from gateway.runtime.store import RuntimeStore
from gateway.secrets.key_source import KeySource
from gateway.webhooks import events, shapes
from gateway.webhooks.courier import Courier
from tests.gateway.approvals.asked import asked
from tests.gateway.conftest import Home, Run
from tests.gateway.control.dashboard.hostile import TEXTS
from tests.gateway.webhooks.test_notices import settle
from tests.rigs.webhooks.courier import receiving

HOSTILE = (
    "<!channel> *bold* <https://evil.example|log in here> & </fact>\n{{DATE(2020-01-01)}} [x](https://evil.example) "
    "\u202egnp\u2066.exe\x00 <script>alert(1)</script> <@U123> @everyone `code` ~s~ {{{TIME(x)}}} }}}"
)
EVENTS = (grants.REQUESTED, grants.DECIDED, "limit.threshold")
URL = "https://gw.example/dashboard/o/default/approvals/apr_1"


def texts(document: Any) -> Iterator[tuple[str, str]]:
    """Every text of a message, with the type of what holds it."""
    if isinstance(document, dict):
        for name in ("text", "title"):
            if isinstance(document.get(name), str):
                yield str(document.get("type", "message")), document[name]
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from texts(each)


def asking(text: str) -> dict[str, Any]:
    return {
        "organization": "default",
        "agent_name": text,
        "action": "chat.completions",
        "model": text,
        "upstream": text,
        "approvals": [{"reason": text}] * 20,
        "expires_ns": "1800000000000000000",
        "approval": "apr_1",
        "url": URL,
    }


@pytest.mark.parametrize("event", EVENTS)
def test_slack_takes_every_name_as_it_is(event: str) -> None:
    for text in (HOSTILE, *(text for _, text in TEXTS)):
        slack_takes(json.loads(shapes.message("slack", event, asking(text))))


def slack_takes(made: Any) -> None:
    found = list(texts(made))
    assert len(found) > 4
    for kind, text in found:
        assert text.isprintable()
        if kind == "mrkdwn":
            assert text == f"<{URL}|Open the request; it asks you to log in>"
        else:
            assert "<" not in text
            assert ">" not in text
            assert not re.search("&(?!amp;|lt;|gt;)", text)
    header, section, _ = made["blocks"]
    assert len(html.unescape(header["text"]["text"])) <= 150  # Slack counts characters before they were escaped
    assert 0 < len(section["fields"]) <= 10
    assert all(len(each["text"]) <= 2000 and each["type"] == "plain_text" for each in section["fields"])


@pytest.mark.parametrize("event", EVENTS)
def test_teams_takes_every_name_as_it_is(event: str) -> None:
    for text in (HOSTILE * 40, *(text for _, text in TEXTS)):
        teams_takes(json.loads(shapes.message("teams", event, asking(text))))


def teams_takes(made: Any) -> None:
    assert len(json.dumps(made)) < 28 * 1024
    [attachment] = made["attachments"]
    card = attachment["content"]
    assert (made["type"], card["type"], card["version"]) == ("message", "AdaptiveCard", "1.4")
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert [each["url"] for each in card["actions"]] == [URL]
    for block in card["body"]:
        assert block["type"] == "RichTextBlock"  # its runs know no Markdown
        for run in block["inlines"]:
            assert run["type"] == "TextRun"
            assert run["text"].isprintable()
            assert "{{" not in run["text"]
            assert "}}" not in run["text"]


def test_a_message_says_who_asks_for_what_why_and_until_when() -> None:
    for shape in ("slack", "teams"):
        said = shapes.message(shape, grants.REQUESTED, {**asking("bot"), "model": "gpt-5", "upstream": "main"}).decode()
        for each in ("bot asks for an approval", "chat.completions of gpt-5", "Why: bot", "Until: 2027-01-15T", URL):
            assert each in said


@pytest.mark.parametrize("shape", ["slack", "teams"])
async def test_a_message_is_delivered_and_its_url_is_shown_nowhere(home: Home, at: Run, shape: str) -> None:
    agent = home.agent("bot")
    at("agents", "list")
    async with receiving() as receiver:
        url = f"{receiver.url}/T0/very-secret"
        made = at("webhooks", "add", url, "--insecure", "--shape", shape)
        assert (made.code, "secret" in made.out) == (0, False), made.err
        again = at("webhooks", "add", url, "--insecure", "--shape", shape)
        assert (again.code, "there is a webhook with this URL already" in again.err) == (1, True)
        asked(home, agent, body=b'{"model":"m","content":"nobody else reads this"}')
        at("agents", "list")  # what waits in the outbox is recorded
        courier = Courier(
            home.registry,
            KeySource(home.data.keys),
            home.data,
            RuntimeStore(home.data.runtime_db),
            "https://gw.example/dashboard",
        )
        at("agents", "suspend", "bot")
        await settle(courier)
        (headers, body), (_, other) = receiver.got
        assert "webhook-signature" not in headers
        assert b"https://gw.example/dashboard/o/default/approvals/apr_" in body
        assert b"nobody else" not in body
        assert b"agent.suspended" in other
        told = at("webhooks", "list").out + at("webhooks", "list", "--json").out + at("audit", "list", "--json").out
        assert ("very-secret" in told, "http://127.0.0.1:" in told) == (False, True)
        tried = await asyncio.to_thread(at, "webhooks", "test", followed(home.registry)[0].id)
        assert (tried.code, b"webhook.test" in receiver.got[2][1], "very-secret" in tried.out) == (0, True, False)
        assert at("webhooks", "remove", url).code == 0
    assert b"very-secret" not in home.data.registry_db.read_bytes()


def test_a_secret_for_a_shape_without_signature_is_refused(at: Run, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("whsec_" + "A" * 32)
    at("agents", "list")
    done = at(
        "webhooks", "add", "https://hooks.example/x", "--shape", "slack", "--secret-file", str(tmp_path / "secret")
    )
    assert (done.code, "are not signed" in done.err) == (1, True)
    assert "generic" in at("webhooks", "add", "https://hooks.example/x", "--shape", "discord").err


def test_the_generic_event_of_an_approval_leads_to_its_page() -> None:
    entry = {"kind": "change", "what": grants.REQUESTED, "org": "a b", "approval": "apr_1", "time": time.time_ns()}
    data = json.loads(events.payload(entry, "", "https://gw.example/dashboard"))["data"]
    assert data["url"] == "https://gw.example/dashboard/o/a%20b/approvals/apr_1"
