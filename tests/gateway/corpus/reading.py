"""Compares what readers other than the gateway's find in a request that reached the provider with the judged input.

Each reader is lenient in its own way (`folding.py`). If one of them finds other facts than those that were judged, the
request has passed the policies as something else than it was. The readers of each API's bodies are in
`reading_bodies.py`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_plus

from . import reading_google, reading_state
from .folding import FOLDS, Facts, Fold, parse, renamed
from .parsers import UNREADABLE
from .reading_bodies import READERS as _READERS

READERS = {**_READERS, **reading_google.READERS, **reading_state.READERS}


def disagreements(body: bytes, judged: Facts, documents: dict[str, Any]) -> list[str]:
    """The readers that find something else in the body than what was judged, and what that is.

    `documents` are the body as programs of other makers have read it (`parsers.py`).
    """
    action = judged["action"]
    google = action in reading_google.ACTIONS
    found = []
    for how, fold in FOLDS.items():
        for last in (True, False):
            document = parse(body, reading_google.taking_both(fold) if google else fold, last)
            if wrong := _wrong(document, judged, fold):
                found.append(f"a reader {how}, {'last' if last else 'first'} wins: {', '.join(wrong)}")
    for program, read in documents.items():
        if read is UNREADABLE:
            found.append(f"{program} cannot read it")
            continue
        document = renamed(read, reading_google.taking_both(FOLDS["exact"])) if google else read
        if wrong := _wrong(document, judged, FOLDS["exact"], doubles=program == "Node"):
            found.append(f"{program}: {', '.join(wrong)}")
    return found


def _wrong(document: Any, judged: Facts, fold: Fold, *, doubles: bool = False) -> list[str]:
    """`doubles`: the reader has no other numbers."""
    action = judged["action"]
    if not isinstance(document, dict):
        return ["no object"]
    if action in ("vector_stores.search", "vector_stores.modify", "conversations.modify"):
        return []
    read = READERS.get(action)
    if read is None:
        return _other_parameters(document, judged["resource"]["params"], fold, doubles)
    said = facts_of(judged)
    by_path = action in reading_google.ACTIONS or "deployment" in judged["resource"]["params"]
    # A body that was not judged is not compared: a reader that finds nothing there cannot be misled.
    return [
        f"{name} {value!r} for {said[name]!r}"
        for name, value in read(document, action).items()
        if not _agrees(name, value, said[name], by_path=by_path, doubles=doubles)
    ]


def _agrees(name: str, value: Any, judged: Any, *, by_path: bool, doubles: bool) -> bool:
    if name == "references":
        return bool(value <= judged)
    if name == "models" and by_path:  # the body may repeat it
        return set(value) <= set(judged)
    if doubles and isinstance(value, int) and isinstance(judged, int):
        return float(value) == float(judged)
    return bool(value == judged)


def facts_of(document: Facts) -> Facts:
    resource, request = document["resource"], document["request"]
    params = reading_state.params_of(document["action"])
    return {
        "models": resource["models"],
        "stream": request["stream"],
        "limit": request["max_output_tokens"],
        "tools": sorted((each["type"], each["name"]) for each in request["tools"]),
        "servers": sorted(each["server"] for each in request["tools"] if "server" in each),
        "roles": request["roles"],
        "messages": request["messages"],
        "system prompts": request["system_prompts"],
        "references": {(each["kind"], each["id"]) for each in resource["references"]},
        "stores": resource["stores"],
        "modalities": request["modalities"],
        # Others are settings, whose names nobody reads in two ways.
        "parameters": {name: value for name, value in resource["params"].items() if name in params},
    }


def _other_parameters(body: Facts, params: Facts, fold: Fold, doubles: bool) -> list[str]:
    """Members of a JSON API's body that have another value under a folded name, at any depth."""
    shown = _shown(params, fold, doubles)
    return [
        f"{name} {value!r} for {shown.get(name)!r}"
        for name, value in _shown(body, fold, doubles).items()
        if shown.get(name) != value
    ]


def _shown(value: Any, fold: Fold, doubles: bool) -> Any:
    if isinstance(value, dict):
        return {fold(name): _shown(each, fold, doubles) for name, each in value.items()}
    if isinstance(value, list):
        return [_shown(each, fold, doubles) for each in value]
    if doubles and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return repr(value) if isinstance(value, float) else value


def head_disagreements(path: bytes, query: bytes, headers: dict[str, str], judged: Facts) -> list[str]:
    """The facts in the path, the query and the headers that the judged input lacks."""
    action, params, found = judged["action"], judged["resource"]["params"], []
    listed = [headers[name] for name in ("anthropic-beta", "openai-beta") if name in headers]
    betas = [each.strip() for each in ",".join(listed).split(",")] if "".join(listed) else []
    if betas != judged["request"]["betas"]:
        found.append(f"features {betas} for {judged['request']['betas']}")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", headers.get("anthropic-version", "2023-06-01")):
        found.append(f"version {headers['anthropic-version']!r}")
    for separators in ("&", "&;"):
        pairs = [each.partition("=") for each in re.split(f"[{separators}]", query.decode("latin-1")) if each]
        for ordered in (pairs, pairs[::-1]):
            # The last of equal names counts, and with the other order the first.
            values = {unquote_plus(name).strip().lower(): unquote_plus(value) for name, _, value in ordered}
            if action == "responses.retrieve":
                streams = values.get("stream", "").strip().lower() in ("true", "1", "yes", "on", "t", "y")
                if streams != judged["request"]["stream"]:
                    found.append(f"stream {streams} for {judged['request']['stream']}")
            if action.startswith("crm."):
                found += [
                    f"{name}={value!r} in the query" for name, value in values.items() if params.get(name) != value
                ]
    segments = path.decode("latin-1").split("/")
    found += _path_disagreements(segments, judged)
    if action.startswith("crm."):
        said = {name: segments[at] for name, at in (("customer_id", 3), ("order_id", 5)) if len(segments) > at}
        said |= {"x-tenant": headers["x-tenant"]} if "x-tenant" in headers else {}
        found += [f"{name} {value!r}" for name, value in said.items() if params.get(name) != value]
    if action.startswith("responses.") and action not in ("responses.input_tokens", "responses.compact"):
        references = {(each["kind"], each["id"]) for each in judged["resource"]["references"]}
        named = segments[segments.index("responses") + 1]
        if references != {("response", named)}:
            found.append(f"response {named!r} for {references}")
    return found


def _path_disagreements(segments: list[str], judged: Facts) -> list[str]:
    """The model and the stream that Google's and Azure's paths name."""
    resource, found = judged["resource"], []
    if "deployments" in segments:
        if [segments[segments.index("deployments") + 1]] != resource["models"][:1]:
            found.append(f"deployment {segments[3]!r} for {resource['models']}")
    elif judged["action"] in reading_google.ACTIONS:
        model, _, method = segments[-1].partition(":")
        if resource["models"] != [model]:
            found.append(f"model {model!r} for {resource['models']}")
        if (method == "streamGenerateContent") != judged["request"]["stream"]:
            found.append(f"method {method!r} for stream {judged['request']['stream']}")
    return found
