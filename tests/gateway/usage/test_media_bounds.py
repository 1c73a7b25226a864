"""The bounds of what is no text: images by their size, pages of documents, windows of models, searches by caps."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from gateway.call import Call
from gateway.usage import bounds, media, pages, pictures, windows
from gateway.usage.media import AROUND
from gateway.usage.pictures import Size
from tests.rigs.usage.bounds import read
from tests.rigs.usage.media_bounds import png, text, url


def jpeg(width: int, height: int) -> bytes:
    thumbnail = b"\xff\xe1" + struct.pack(">H", 30) + b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01".ljust(28, b"\0")
    return b"\xff\xd8" + thumbnail + b"\xff\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + b"\x03" * 10


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0" * 20


def webp(kind: bytes, width: int, height: int) -> bytes:
    rest = {
        b"VP8 ": b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        b"VP8X": b"\0\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3],
    }[kind]
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + rest.ljust(16, b"\0")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(640, 480), Size(640, 480)),
        (jpeg(640, 480), Size(640, 480)),
        (gif(640, 480), None),  # its frames may be larger
        *((webp(kind, 640, 480), Size(640, 480)) for kind in (b"VP8 ", b"VP8L", b"VP8X")),
        (png(0, 480), None),
        (png(640, 480)[:20], None),
        (png(640, 480) + b"\0\0\0\x08acTL", None),  # it moves
        (b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\x02" + b"\0" * 20, None),
        (b"\xff\xd8\xff\xda\0\x04", None),
        (b"\xff\xd8\xff\xda\0\x04ab" + jpeg(640, 480)[2:], None),  # within the data of an image, nothing is a size
        (b"\xff\xd8" + b"\xff\xe1\0\x02" * 3, None),
        (b"<svg/>", None),
        (b"", None),
    ],
)
def test_the_size_of_an_image(data: bytes, size: Size | None) -> None:
    assert pictures.of_base64(text(data)) == size


def chat(url: str, model: str, detail: str | None = None, **members: Any) -> Call:
    image: dict[str, Any] = {"url": url} | ({} if detail is None else {"detail": detail})
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": image}]
    return read(
        "openai", "chat.completions", {"model": model, "messages": [{"role": "user", "content": content}], **members}
    )


def without_image(model: str) -> int:
    """The bound of everything else of the call in `chat`: an image's place in it has the marks of an object."""
    content = [{"type": "text", "text": "x"}, {}]
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    return bounds._input(chat("https://x", model), body)


@pytest.mark.parametrize(
    ("model", "given", "detail", "tokens"),
    [
        # The examples of OpenAI's guide.
        ("gpt-4o", url(png(1024, 1024)), "high", 765),
        ("gpt-4o-2024-08-06", url(png(2048, 4096)), None, 1105),
        ("gpt-4o", url(png(4096, 8192)), "low", 85),
        ("gpt-4.1-mini", url(png(1024, 1024)), None, -(-1024 * 162 // 100)),
        # Never more than the largest, and that where the size is not known.
        ("gpt-4o", url(png(8000, 8000)), None, 765),
        ("gpt-4o", url(png(60_000, 8000)), None, 85 + 170 * 8),
        ("gpt-4o", "https://example.com/a.png", None, 85 + 170 * 8),
        ("gpt-4o-mini", "https://example.com/a.png", None, 2833 + 5667 * 8),
        ("gpt-4.1-mini", url(png(4000, 1474)), None, 2489),  # billed 2488
        ("o4-mini", url(b"what"), None, 2642),
        ("gpt-5.4-mini", url(png(64, 64)), "low", -(-256 * 162 // 100)),  # made larger
        ("gpt-5.5", url(png(1280, 800)), None, 2460),
        ("gpt-5.5", url(png(8000, 8000)), None, 24_600),
    ],
)
def test_an_image_counts_by_its_makers_rule(model: str, given: str, detail: str | None, tokens: int) -> None:
    found = bounds.of(chat(given, model, detail))
    assert (found.unbounded, found.input_tokens - without_image(model)) == ("", tokens + AROUND)


def claude(source: dict[str, Any], kind: str = "image", model: str = "claude-sonnet-4-5", **members: Any) -> Call:
    content = [{"type": kind, "source": source}]
    messages = [{"role": "user", "content": content}]
    return read("anthropic", "messages", {"model": model, "max_tokens": 9, "messages": messages, **members})


def asked(tools: list[dict[str, Any]], **members: Any) -> Call:
    return read("openai", "responses", {"model": "gpt-4o", "input": "x", "tools": tools, **members})


def gemini(data: dict[str, Any], model: str = "gemini-2.5-flash") -> Call:
    call = read("gemini", "generate_content", {"contents": [{"role": "user", "parts": [{"inlineData": data}]}]})
    return replace(call, model=model, models=(model,))


def inline(data: bytes, kind: str = "image/png") -> dict[str, Any]:
    return {"type": "base64", "media_type": kind, "data": text(data)}


def pdf(*objects: bytes) -> bytes:
    return b"%PDF-1.7\n" + b"\n".join(objects) + b"\n%%EOF"


TREE = b"1 0 obj << /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 >> endobj", b"3 0 obj << /Kids [4 0 R\n5 0 R] >> endobj"


@pytest.mark.parametrize(
    ("call", "least", "most"),
    [
        (claude(inline(png(200, 200))), 54, 200),
        (claude(inline(png(1092, 1092))), 1590, 1700),
        (claude(inline(png(10, 8000))), 286, 400),
        (claude(inline(png(8000, 8000))), 1600, 3300),
        (claude({"type": "url", "url": "https://example.com/a.png"}), 1600, 3300),
        (claude(inline(png(1280, 800)), model="claude-opus-4-8"), 1366, 1500),
        (claude(inline(png(8000, 8000)), model="claude-opus-4-8"), 4784, 9700),
        (gemini({"mimeType": "image/png", "data": text(png(300, 300))}), 258, 700),
        (gemini({"mimeType": "image/png", "data": text(png(960, 540))}), 7 * 258, 2100),
        (gemini({"mimeType": "application/pdf", "data": text(pdf(*TREE))}), 4 * 258, 1200),
        (gemini({"mimeType": "application/pdf", "data": text(pdf(b"/Type /ObjStm"))}), 258_000, 258_100),
        # Media without a known rule fill at most the window.
        (claude(inline(pdf(*TREE), "application/pdf"), "document"), 200_000, 200_000),
        (claude(inline(pdf(*TREE), "application/pdf"), "document", "claude-opus-4-8"), 1_000_000, 1_000_000),
        (gemini({"mimeType": "image/png", "data": text(png(9, 9))}, "gemini-3.1-pro-preview"), 1_048_576, 1_048_576),
        (gemini({"mimeType": "audio/wav", "data": "AAAA"}), 1_048_576, 1_048_576),
        (
            read("openai", "responses", {"model": "gpt-4o", "input": "x", "previous_response_id": "resp_1"}),
            128_000,
            128_000,
        ),
    ],
)
def test_what_is_no_text_has_a_bound(call: Call, least: int, most: int) -> None:
    found = bounds.of(call)
    assert found.unbounded == ""
    assert least <= found.input_tokens <= most


@pytest.mark.parametrize(
    "call",
    [
        chat("https://x", "gpt-9"),
        claude(inline(png(200, 200)), model="claude-opus-9"),
        chat("https://x", "gpt-4o", modalities=["text", "audio"]),
        read("openai", "responses", {"model": "my-model", "input": "x", "previous_response_id": "resp_1"}),
        asked([{"type": "web_search"}]),
        asked([{"type": "web_search"}], model="gpt-9", max_tool_calls=2),
        asked([{"type": "web_search"}], max_tool_calls=101),
        claude(inline(png(9, 9)), tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 101}]),
        asked([{"type": "code_interpreter", "container": {"type": "auto"}}], max_tool_calls=2),
        claude(inline(png(9, 9)), tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    ],
)
def test_what_has_none(call: Call) -> None:
    assert bounds.of(call).unbounded


def test_searches_have_a_bound_by_their_cap() -> None:
    found = bounds.of(asked([{"type": "web_search"}], max_tool_calls=2))
    assert (found.unbounded, found.rounds, found.input_tokens) == ("", 4, 4 * 128_000)
    assert found.fees == (("web_search", 2),)
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    found = bounds.of(claude(inline(png(9, 9)), tools=[tool]))
    assert (found.unbounded, found.rounds, found.fees) == ("", 12, (("web_search", 3),))
    assert found.input_tokens == 12 * 200_000
    # One of two stands where its cap is not looked for.
    call = claude(inline(png(9, 9)), tools=[tool])
    assert bounds.of(replace(call, tools=call.tools * 2)).unbounded
    # The price of each kind has its own name.
    assert bounds.of(asked([{"type": "web_search_preview"}], max_tool_calls=2)).fees == (("web_search_preview", 2),)


def test_the_window_that_a_header_asks_for() -> None:
    assert windows.window(["claude-sonnet-4-5"]) == 200_000
    assert windows.window(["claude-sonnet-4-5"], ["context-1m-2025-08-07"]) == 1_000_000
    assert windows.window(["claude-sonnet-4-5", "mine"]) is None


def test_an_image_that_stands_elsewhere_is_not_taken_for_text() -> None:
    """In a result of a tool it is one, in the arguments of a call it is none."""
    image = {"type": "image", "source": inline(png(200, 200))}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    used = {"type": "tool_use", "id": "t", "name": "f", "input": {"source": "a", "image": "b"}}
    messages = [{"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
    call = read("anthropic", "messages", {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": messages})
    found = bounds.of(call)
    assert (found.unbounded, found.input_tokens < 500) == ("", True)


def test_an_image_in_a_definition_is_text() -> None:
    shown = {"type": "input_image", "image_url": url(png(2048, 4096))}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "examples": [shown]}}}
    plain, more = (chat(url(png(9, 9)), "gpt-4o", **given) for given in ({}, {"tools": [tool]}))
    assert media.find(more).tokens == media.find(plain).tokens
    assert media.find(more).body["tools"] == [tool]


def test_an_image_beside_others_that_is_not_known_fills_the_window() -> None:
    known = {"type": "image_url", "image_url": {"url": url(png(9, 9))}}
    for other in ({**known, "more": 1}, {"type": "image_url", "image_url": {**known["image_url"], "more": 1}}):
        call = read(
            "openai",
            "chat.completions",
            {"model": "gpt-4o", "messages": [{"role": "user", "content": [known, other]}]},
        )
        assert bounds.of(call).input_tokens == 128_000


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (pdf(*TREE), 4),
        (pdf(b"1 0 obj << /Kids [2 0 R] >>"), 1),
        (pdf(*TREE, b"6 0 obj << /Kids [2 0 R] >>"), pages.UNKNOWN),  # named twice: it may be a million pages
        (pdf(*TREE, b"<< /Type /ObjStm >>"), pages.UNKNOWN),
        (pdf(*TREE, b"<< /Encrypt 9 0 R >>"), pages.UNKNOWN),
        (pdf(*TREE, b"<< /K#69ds [7 0 R] >>"), pages.UNKNOWN),
        (pdf(*TREE, b"<< /Kids 7 0 R >>"), pages.UNKNOWN),
        (pdf(*TREE, b"<< /Kids [7 0000000 R 8 0 R] >>"), 6),  # 2 and 3, 4 and 5, 7 and 8
        (pdf(*TREE, b"<< /Kids [7 00000000000 R 8 0 R] >>"), pages.UNKNOWN),  # a reference that is not read
        (pdf(*TREE, *(b"<< /Type/Page>>" for _ in range(9))), 9),  # a reader that looks for pages finds these
        (pdf(b"nothing"), pages.UNKNOWN),
        (b"no PDF", pages.UNKNOWN),
    ],
)
def test_the_pages_of_a_document(data: bytes, count: int) -> None:
    assert pages.most_pages(text(data)) == count


def test_a_models_name_says_nothing_elsewhere() -> None:
    """A deployment that is called `gpt-4o` may be of a model that sees thirty times as many tokens."""
    for call in (chat(url(png(9, 9)), "gpt-4o"), asked([{"type": "web_search"}], max_tool_calls=2)):
        assert bounds.of(call).unbounded == ""
        for preset in ("azure", "openai-compatible", "groq"):
            assert bounds.of(call, preset=preset).unbounded != ""
