"""Judges a corpus that was played: bypasses, server errors, and wrong answers to known cases."""

from __future__ import annotations

from collections import Counter
from typing import Any

from . import named_twice, parsers, reading_forms
from .case import BODY, SMUGGLED_MODEL
from .reading import disagreements, facts_of, head_disagreements
from .rig import Played, Rig, Seen, mark, matches


def violations(rig: Rig, played: Played) -> list[str]:
    """Everything that must not be: bypasses first of all."""
    found = [f"the provider was sent what is no request: {each[:80]!r}" for each in played.strange]
    by_mark = {mark(number): told for number, told in enumerate(played.told)}
    for told in played.told:
        if any(status >= 500 for status in told.statuses):
            found.append(f"{told.case.note}: status {told.statuses}")
        if told.case.expect == "served" and told.status != 200:
            found.append(f"{told.case.note}: {told.status} instead of an answer: {told.body[:160]!r}")
        if told.case.expect == "refused" and 200 in told.statuses:
            found.append(f"{told.case.note}: was served")
    decided = rig.decided()
    read = readings(played.seen)
    times = Counter(seen.mark for seen in played.seen)
    for seen in played.seen:
        told = by_mark.get(seen.mark)
        # In some cases the place for the mark is cut in pieces by the framing.
        if told is None and not seen.line.startswith(b"GET /v1/models") and seen.body != BODY:
            found.append(f"nobody sent what the provider saw: {seen.line!r} {seen.body[:80]!r}")
            continue
        note = told.case.note if told else "without a mark"
        if told and times[seen.mark] > 1:
            found.append(f"{note}: reached the provider {times[seen.mark]} times")
        if SMUGGLED_MODEL in seen.body:
            found.append(f"{note}: the smuggled request reached the provider")
        found += [f"{note}: the provider was sent {each}" for each in seen.faults(rig.key)]
        # A client that left at once was not told the decision, but the log has it.
        told_of = [decided[each] for each in told.decisions if each in decided] if told else []
        candidates = told_of or list(decided.values())
        known = [(entry, judged) for entry, salt, judged in candidates if entry["allow"] and matches(seen, entry, salt)]
        if not known:
            found.append(f"{note}: no decision in the log is about what the provider saw")
            continue
        # Requests without a body to one path differ in their heads only.
        wrong = min((wrong_in(seen, judged, read[seen.content_type, seen.body]) for _, judged in known), key=len)
        # Without a mark it is not known which decision this is about.
        found += [f"{note}: {each}" for each in wrong[:1]] if told or seen.body else []
    return found


def readings(seen: list[Seen]) -> dict[tuple[str, bytes], dict[str, Any]]:
    """The findings of programs of other makers in each body, by its content type and bytes."""
    documents = parsers.readings(each.body for each in seen if each.body and not each.is_form)
    forms = reading_forms.readings([(each.content_type, each.body) for each in seen if each.is_form])
    return {
        (each.content_type, each.body): forms.get((each.content_type, each.body)) or documents.get(each.body, {})
        for each in seen
    }


def wrong_in(seen: Seen, judged: dict[str, Any], read: dict[str, Any]) -> list[str]:
    """Differences between what the provider saw and what was judged; `read` is the body as other programs read it."""
    request = judged["request"]
    asked = (seen.line.partition(b" ")[0].decode(), seen.target[0].decode())
    if asked != (request["method"], request["path"]):
        return [f"judged was {request['method']} {request['path']}"]
    found = head_disagreements(*seen.target, seen.headers, judged)
    if seen.is_form:
        found += reading_forms.disagreements(judged, facts_of(judged), read)
    elif seen.body:
        found += named_twice.hidden(seen.body, judged["resource"]["models"])
        found += disagreements(seen.body, judged, read)
    return [f"BYPASS: {each}" for each in found]
