"""Compares what programs of other makers find in a form that reached the provider with the judged input."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from tests.gateway.upstream.form_readers import READERS, Found, by_node

from . import reading_state
from .folding import FOLDS, Facts, Fold

_ERRORS = (ValueError, AssertionError, KeyError, RuntimeError, aiohttp.ClientError, asyncio.IncompleteReadError)


def readings(forms: list[tuple[str, bytes]]) -> dict[tuple[str, bytes], dict[str, Found | None]]:
    """The findings of every program, for each form (its content type and body)."""
    several = list(dict.fromkeys(forms))
    found: dict[tuple[str, bytes], dict[str, Found | None]] = {}
    for each in several:
        found[each] = {}
        for name, read in READERS.items():
            try:
                found[each][name] = read(*each)
            except _ERRORS:
                found[each][name] = None
    if (answers := by_node(several)) is not None:
        for each, answer in zip(several, answers, strict=True):
            found[each]["Node"] = answer
    return found


def disagreements(judged: Facts, facts: Facts, parts: dict[str, Found | None]) -> list[str]:
    """The programs that find other fields, under any lenient reading of their names; `facts` are the judged ones."""
    action, found = judged["action"], []
    for program, read in parts.items():
        if read is None:
            found.append(f"{program} cannot read the form")
            continue
        for how, fold in {**FOLDS, "as in PHP": lambda name: name.partition("[")[0].strip()}.items():
            for ordered in (read, read[::-1]):
                seen = reading_state.form(_fields(ordered, fold), action)
                wrong = [
                    f"{name} {value!r} for {facts[name]!r}"
                    for name, value in seen.items()
                    if not (value <= facts[name] if name == "references" else value == facts[name])
                ]
                if wrong:
                    found.append(f"{program}, {how}: {', '.join(wrong)}")
    return found


def _fields(parts: Found, fold: Fold) -> dict[str, Any]:
    """The fields by their names. The last of equal ones counts, but those of a list are all there.

    A name in brackets, as in `image[file_id]`, is one of its own, too.
    """
    found: dict[str, Any] = {"file_id": []}
    for name, file, content in parts:
        if file is not None:
            continue
        text = content.decode("utf-8", "replace")
        keys = [fold(each.rstrip("]")) for each in name.split("[")]
        if {"file_id", "file_ids", "fileid", "fileids"}.intersection(keys):
            found["file_id"].append(text)
        else:
            found[fold(name)] = text
    return found
