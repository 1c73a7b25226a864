"""Images and documents in a call: where they stand in its body, and the most tokens that its model makes of each.

By the makers' rules, for the models that these name; each rule has its source. An image that is sent as base64 counts
by its size, one behind a URL as the largest that the maker makes of any. Media without a known rule have no bound here;
`windows.py` may have one for all of the input. Specification: limits.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from gateway.call import Call
from gateway.usage import pictures
from gateway.usage.pages import most_pages
from gateway.usage.pictures import Size

AROUND: Final = 32
"""Tokens that stand around each image or page, such as its number and its size: OpenAI bills up to 24."""

_DATA_URL: Final = re.compile(r"data:([a-z0-9.+/-]{0,64});base64,", re.IGNORECASE | re.ASCII)
# Members that hold content which is no text. One that is left after all known shapes were found has no bound.
_HOLDERS: Final = frozenset(
    {
        *("image_url", "input_image", "file_data", "file_url", "input_audio", "video_url", "input_video", "file"),
        *("inlineData", "inline_data", "fileData", "file_data", "source", "audio", "images", "image", "file_id"),
    }
)
# Members that hold what tools are called with or defined by: names in there mean nothing to the provider.
_ARGUMENTS: Final = frozenset({"input", "args", "arguments", "parameters", "input_schema", "schema"})
_DEFINITIONS: Final = frozenset({"tools", "functions", "response_format", "text", "tool_choice", "metadata"})


class FoundMedia(NamedTuple):
    """The media of a body: `body` is without it. `kinds` were found, and `unbounded` of them have no bound."""

    body: dict[str, Any]
    tokens: int
    kinds: frozenset[str]
    unbounded: frozenset[str]


class _Part(NamedTuple):
    """An image or a document: in base64 if `data` is not None, else somewhere else."""

    kind: str
    data: str | None
    media_type: str = ""
    detail: str = ""


def find(call: Call) -> FoundMedia:
    """The images and documents of a call that has some."""
    assert call.body is not None
    shape = _SHAPES.get(call.provider)
    tokens, kinds, unbounded = 0, set[str](), set[str]()

    def without(value: Any) -> Any:
        nonlocal tokens
        if isinstance(value, list):
            return [without(each) for each in value]
        if not isinstance(value, dict):
            return value
        part = None if shape is None else shape(value)
        if part is None:
            if not _HOLDERS.isdisjoint(value):
                unbounded.update(call.modalities)
            return {
                name: each if each.__class__ is dict and name in _ARGUMENTS else without(each)
                for name, each in value.items()
            }
        kinds.add(part.kind)
        most = max((_most(each, part) for each in call.models), default=_NO_BOUND)
        if most == _NO_BOUND:
            unbounded.add(part.kind)
        else:
            tokens += most + AROUND
        return {}

    body = {name: value if name in _DEFINITIONS else without(value) for name, value in call.body.items()}
    return FoundMedia(body, tokens, frozenset(kinds), frozenset(unbounded))


# --- Shapes: how an API writes an image or a document --------------------------------------------------------------


def _of_openai(value: dict[str, Any]) -> _Part | None:
    kind = value.get("type")
    if kind in ("image_url", "input_image") and value.keys() <= {"type", "image_url", "detail"}:
        holder = value.get("image_url")
        if isinstance(holder, dict) and holder.keys() <= {"url", "detail"}:
            return _of_url("image", holder.get("url"), holder.get("detail"))
        return _of_url("image", holder, value.get("detail"))
    if kind == "file" and value.keys() == {"type", "file"} and isinstance(value["file"], dict):
        value = {"type": "input_file", **value["file"]}
    elif kind != "input_file":
        return None
    if value.keys() <= {"type", "filename", "file_data", "detail"} and isinstance(value.get("file_data"), str):
        return _of_url("file", value["file_data"], None)
    if value.keys() <= {"type", "filename", "file_url", "detail"} and isinstance(value.get("file_url"), str):
        return _Part("file", None)
    return None


def _of_url(kind: str, url: object, detail: object) -> _Part | None:
    if not isinstance(url, str):
        return None
    told = detail if isinstance(detail, str) else ""
    head = _DATA_URL.match(url)
    if head is None:
        # A server may take bare base64 for data of any kind.
        return _Part(kind, None, detail=told)
    return _Part(kind, url[head.end() :], head[1].lower(), told)


def _of_anthropic(value: dict[str, Any]) -> _Part | None:
    kind = {"image": "image", "document": "file"}.get(str(value.get("type")))
    source = value.get("source")
    if kind is None or not isinstance(source, dict):
        return None
    if value.keys() - {"type", "source", "cache_control", "title", "context", "citations"}:
        return None
    match source.get("type"):
        case "base64" if isinstance(source.get("data"), str):
            return _Part(kind, source["data"], str(source.get("media_type")).lower())
        case "url":
            return _Part(kind, None)
    return None


def _of_gemini(value: dict[str, Any]) -> _Part | None:
    data = value.get("inlineData")
    if not isinstance(data, dict) or not isinstance(data.get("data"), str):
        return None
    if value.keys() - {"inlineData", "thought", "thoughtSignature"}:
        return None
    media_type = str(data.get("mimeType")).lower()
    main = media_type.partition("/")[0]
    return _Part(main if main in ("audio", "image", "video") else "file", data["data"], media_type)


_SHAPES: Final[dict[str, Callable[[dict[str, Any]], _Part | None]]] = {
    "openai": _of_openai,
    "azure": _of_openai,
    "anthropic": _of_anthropic,
    "gemini": _of_gemini,
}


# --- Rules: what a model makes of it -------------------------------------------------------------------------------

_NO_BOUND: Final = 2**62

_Rule = Callable[[_Part], int]


def _tiles(base: int, tile: int) -> _Rule:
    """OpenAI's models that see tiles of 512 pixels (https://platform.openai.com/docs/guides/images-vision).

    The image is fitted into 2048 × 2048, then its shorter side becomes 768. The makers do not say whether a smaller
    one is made larger, so both counts are taken. No image is more than eight tiles then, whatever its size.
    """

    def most(part: _Part) -> int:
        if part.kind != "image":
            return _NO_BOUND
        size = _size(part)
        return base if part.detail == "low" else base + tile * (8 if size is None else _tiles_of(size))

    return most


def _tiles_of(size: Size) -> int:
    long, short = max(size), min(size)
    if long > 2048:
        short, long = -(-short * 2048 // long), 2048
    fitted = [(long, short)] if short <= 768 else []
    fitted.append((min(2048, -(-long * 768 // short)), 768))
    return min(8, max(-(-one // 512) * -(-other // 512) for one, other in fitted))


def _patches(thousandths: int, most_patches: int = 1536) -> _Rule:
    """OpenAI's other models, which see patches of 32 pixels, at most so many of them, and count each so many times.

    With a low detail every image becomes 512 × 512, also a smaller one.
    """

    def most(part: _Part) -> int:
        if part.kind != "image":
            return _NO_BOUND
        size = _size(part)
        patches = most_patches if size is None else min(most_patches, _covering(size, 32))
        if part.detail == "low":
            patches = max(patches, 256)
        return -(-patches * thousandths // 1000)

    return most


def _claude(largest: int) -> _Rule:
    """Claude: width × height / 750, and no image more than so many tokens, to which larger ones are made smaller.

    https://docs.claude.com/en/docs/build-with-claude/vision. Small and narrow ones count in patches of 28 pixels. Twice
    the documented maximum is taken, because of "about".
    """

    def most(part: _Part) -> int:
        if part.kind != "image":
            return _NO_BOUND  # what a page of a document has in text is not limited
        size = _size(part)
        if size is None:
            return 2 * largest
        return min(2 * largest, max(-(-size.width * size.height // 750), _covering(size, 28)))

    return most


def _of_gemini_2(part: _Part) -> int:
    """Gemini 2: 258 tokens for an image up to 384 pixels a side, and else for each tile of it; 258 for each page.

    https://ai.google.dev/gemini-api/docs/tokens, https://ai.google.dev/gemini-api/docs/document-processing (at most
    1000 pages). A tile has the shorter side over 1.5, from 256 to 768 pixels. Without a size there is no bound.
    """
    if part.kind == "file" and part.media_type == "application/pdf" and part.data is not None:
        return 258 * min(1000, most_pages(part.data))
    size = _size(part) if part.kind == "image" else None
    if size is None:
        return _NO_BOUND
    if max(size) <= 384:
        return 258
    tile = min(768, max(256, int(min(size) / 1.5)))
    return 258 * (1 + max(_covering(size, tile), _covering(size, 768)))


_RULES: Final[Sequence[tuple[re.Pattern[str], _Rule]]] = tuple(
    (re.compile(rf"(?:[a-z0-9-]+/)?(?:{names})(?:-\d{{4}}-?\d{{2}}-?\d{{2}}|-latest|-\d{{3}})?", re.ASCII), rule)
    for names, rule in (
        (r"gpt-4o-mini", _tiles(2833, 5667)),
        (r"gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4-turbo", _tiles(85, 170)),
        (r"o1|o1-pro|o3|o3-pro", _tiles(75, 150)),
        (r"gpt-5|gpt-5-chat", _tiles(70, 140)),
        (r"gpt-4\.1-mini|gpt-5(?:\.4)?-mini", _patches(1620)),
        (r"gpt-4\.1-nano|gpt-5(?:\.4)?-nano", _patches(2460)),
        (r"o4-mini", _patches(1720)),
        # The guide does not say how many tokens a patch of theirs is (1.2 were billed): the most of all models counts.
        (r"gpt-5\.[45]", _patches(2460, 10_000)),
        (
            r"claude-3(?:-[57])?-(?:haiku|sonnet|opus)|claude-(?:opus|sonnet)-4(?:-[0156])?|claude-haiku-4-5",
            _claude(1600),
        ),
        (r"claude-opus-4-[78]|claude-(?:opus|sonnet)-5", _claude(4784)),
        (r"gemini-2\.(?:0|5)-(?:pro|flash|flash-lite)", _of_gemini_2),
    )
)


def _most(model: str, part: _Part) -> int:
    return next((rule(part) for names, rule in _RULES if names.fullmatch(model)), _NO_BOUND)


def _size(part: _Part) -> Size | None:
    return None if part.data is None else pictures.of_base64(part.data)


def _covering(size: Size, side: int) -> int:
    """The number of squares with this side that cover an image."""
    return -(-size.width // side) * -(-size.height // side)
