"""The digests of system prompts, by which a policy can demand an approved one."""

from __future__ import annotations

import hashlib

import orjson

from gateway.upstream.providers import members


def digest(content: object) -> str:
    """SHA-256 (hex) of a system prompt: of the UTF-8 of a string, of the RFC 8785 form of a list of parts.

    For ASCII member names and integers within 2**53, sorted orjson *is* RFC 8785; other parts are refused, since no
    system prompt needs them and two spellings of one prompt must not have two digests.
    """
    if isinstance(content, str):
        return hashlib.sha256(content.encode()).hexdigest()
    if not _is_plain(content):
        members.refuse("the parts of a system prompt may hold only ASCII member names and whole numbers")
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(key.isascii() and _is_plain(member) for key, member in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, float) and not (isinstance(value, int) and abs(value) >= 2**53)
