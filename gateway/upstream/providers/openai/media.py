"""Images, speech, transcriptions and translations: what a call asks for, in JSON or as a form, and what is reported.

A form goes upstream byte for byte: nothing in it can be changed.
Specification: https://platform.openai.com/docs/api-reference/images and …/audio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from gateway.body import Body
from gateway.call import Call, Reference, Usage
from gateway.upstream import json_body, sse
from gateway.upstream.providers import forms, members, settings
from gateway.upstream.providers.base import MODEL_EDIT, Edits, Endpoint, RequestHead, Route, call_of
from gateway.upstream.providers.openai.deployments import DEPLOYMENT, deployment
from gateway.upstream.providers.openai.dialects import FORWARDED
from gateway.upstream.providers.openai.response_answers import is_whole
from gateway.upstream.providers.prompts import digest
from gateway.upstream.providers.reported import check, count, text
from gateway.upstream.taps import Event, ProviderReport, json_object

IMAGES, EDITS, VARIATIONS = "images.generations", "images.edits", "images.variations"
SPEECH, TRANSCRIPTIONS, TRANSLATIONS = "audio.speech", "audio.transcriptions", "audio.translations"

ROUTES = (
    Route("POST", "/images/generations", IMAGES, "json", request_headers=FORWARDED),
    Route("POST", "/images/edits", EDITS, "multipart", request_headers=FORWARDED),
    Route("POST", "/images/variations", VARIATIONS, "multipart", request_headers=FORWARDED),
    Route("POST", "/audio/speech", SPEECH, "json", request_headers=FORWARDED),
    Route("POST", "/audio/transcriptions", TRANSCRIPTIONS, "multipart", request_headers=FORWARDED),
    Route("POST", "/audio/translations", TRANSLATIONS, "multipart", request_headers=FORWARDED),
)
ACTIONS = frozenset(route.action for route in ROUTES)
_JSON = frozenset(route.action for route in ROUTES if route.body == "json")

_MAX_IMAGES = 128
# Short members that policies see as `resource.params`: how much is made, how large, in which form and voice.
_PARAMS = ("n", "size", "quality", "background", "response_format", "output_format", "voice", "language")
_NAMES = frozenset({"model", "prompt", "input", "instructions", "stream", "stream_format", *_PARAMS})
# Members that policies judge as what they are: all others are settings.
_JUDGED = frozenset({"model", "prompt", "input", "instructions", "stream"})
_VOICE_NAMES = frozenset({"id"})
# Members by which compatible servers do what no policy could see, and why that is refused.
_UNSEEN = {**members.UNSEEN, **dict.fromkeys(("models", "fallbacks", "route"), "the model is named in `model`")}
_READ = frozenset({*_NAMES, *_UNSEEN})

# The events that report something. If several images are made, each has its own.
_LAST = ("image_generation.completed", "image_edit.completed", "speech.audio.done", "transcript.text.done")
_MARKS = (*(each.encode() for each in _LAST), b'"error"')
_DONE = b"[DONE]"
_IMAGE = re.compile(rb'"b64_json"\s*:\s*"')


def read(endpoint: Endpoint, head: RequestHead, provider: str, raw: Body) -> Call:
    """The call in this body; `Denied` where it is none."""
    action = endpoint.route.action
    facts: dict[str, Any] = {}
    if endpoint.route.body == "json":
        given = body = members.parsed(raw)
        members.check_names(body, _READ)
        members.check_unread(body, _READ, frozenset())
    else:
        form = forms.parse(head.content_type, raw, _READ)
        body = form.document()
        given = {**body, "stream": form.flag("stream"), "n": form.number("n")}
        facts = {"references": form.references(), "content_type": head.content_type}
    judged = settings.of(head.query, body if action in _JSON else form.texts(), _JUDGED)
    facts |= _facts(action, given, endpoint.params)
    return call_of(endpoint, head, provider, raw, body, settings=judged, **facts)


def edit(call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
    """The call with its model changed, if its body is JSON. A form stays as it is, also if policies want another model.

    There is no output limit to change.
    """
    if edits.model is None or edits.model == call.model or call.content_type != "application/json":
        return call, ()
    assert call.body is not None
    body = {**call.body, "model": edits.model}
    return replace(call, raw=json_body.dump(body, call.raw), body=body, **_facts(call.action, body, call.params)), (
        MODEL_EDIT,
    )


def _facts(action: str, given: Mapping[str, Any], path: Mapping[str, str]) -> dict[str, Any]:
    """The members of a call that those of its body and the parameters of its path determine."""
    for name in _UNSEEN:
        if given.get(name) is not None:
            members.refuse(f"`{name}` is not supported: {_UNSEEN[name]}")
    for name in ("prompt", "input"):
        if not isinstance(given.get(name), str | None):
            members.refuse(f"`{name}` must be a string")
    named = given.get("model")
    is_image = action.startswith("images.")
    if DEPLOYMENT in path:
        if named is not None:
            members.model(named)
        # The parts of a form stay as they are.
        named = deployment(path[DEPLOYMENT], [] if named is None or action in _JSON else [named])
    elif named is not None or action != IMAGES:  # images have a default model, and a policy can give one
        named = members.model(named)
    facts: dict[str, Any] = {
        "model": named,
        "models": () if named is None else (named,),
        "stream": members.boolean(given.get("stream"), "stream"),
        "modalities": ("image",) if is_image else ("audio",),
        "params": {**path, **_params(given)},
    }
    if action == SPEECH:
        form = given.get("stream_format")
        if form not in (None, "sse", "audio"):
            members.refuse("`stream_format` must be `sse` or `audio`")
        facts["stream"] = form == "sse"
        if given.get("instructions") is not None:
            facts["system_prompts"] = (digest(given["instructions"]),)
        if isinstance(voice := given.get("voice"), dict):  # one that somebody has had made
            identifier = members.one_object(voice, "voice", _VOICE_NAMES).get("id")
            facts["references"] = (Reference("voice", members.text(identifier, "`id` of a voice")),)
    return facts


def _params(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _PARAMS:
        value = given.get(name)
        if name == "n" and value is not None:
            found[name] = members.whole_number(value, name, _MAX_IMAGES)
        elif name == "voice" and isinstance(value, dict):
            continue
        elif value is not None:
            found[name] = members.word(value, f"`{name}`")
    return found


class MediaAnswers:
    """Reads the answers to one call."""

    def document(self, document: dict[str, Any], report: ProviderReport) -> None:
        """Read an answer that is one document, or an event of a stream."""
        if report.model is None:
            report.model = text(document.get("model"))
        if (images := _images(document)) > 0:
            report.images = (report.images or 0) + images
        usage = document.get("usage")
        if not isinstance(usage, dict):
            return
        if usage.get("type") == "duration":
            seconds = usage.get("seconds")
            if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 2**31:
                report.seconds = ceil(seconds)
            return
        check(report, usage, whole=is_whole(usage))
        if (found := _usage(usage)) is not None:
            # Of several images each event reports its own.
            report.usage = found if report.usage is None else report.usage.plus(found)

    def event(self, event: bytes, report: ProviderReport) -> Event:
        """Read one event of a stream. The last one is known when the stream ends: there may be several images."""
        if not any(mark in event for mark in _MARKS) and _DONE not in event:
            return Event.SHOW
        data = sse.data_of(event)
        if data.lstrip().startswith(_DONE):
            return Event.END
        document = json_object(_without_image(data))
        if document is None:
            return Event.SHOW
        if document.get("error") or document.get("type") == "error":
            report.failed = True
        if document.get("type") not in _LAST:
            return Event.SHOW
        self.document(document, report)
        return Event.PERHAPS_LAST


def _images(document: dict[str, Any]) -> int:
    """The number of images that a document holds or names. In a stream each event that ends an image is a document."""
    if str(document.get("type")).startswith("image_"):
        return 1
    data = document.get("data")
    return sum(isinstance(each, dict) for each in data) if isinstance(data, list) else 0


def _without_image(data: bytes) -> bytes:
    """The data of an event without the image in it: parsing many megabytes would stop the event loop."""
    image = _IMAGE.search(data)
    end = -1 if image is None else data.find(b'"', image.end())
    return data if image is None or end < 0 else data[: image.end()] + data[end:]


def _usage(usage: dict[str, Any]) -> Usage | None:
    fresh = count(usage, "input_tokens")
    if fresh is None:
        return None
    into = usage.get("input_tokens_details") or usage.get("input_token_details")
    out = usage.get("output_tokens_details")
    return Usage(
        input=fresh,
        output=count(usage, "output_tokens") or 0,
        cached=count(into, "cached_tokens") or 0,
        audio_input=count(into, "audio_tokens") or 0,
        image_input=count(into, "image_tokens") or 0,
        image_output=count(out, "image_tokens") or 0,
    )
