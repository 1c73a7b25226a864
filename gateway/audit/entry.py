"""One entry of the log: which members it has, and the leaf bytes that stand for it (pure, both directions).

A leaf is one flat JSON object in RFC 8785 form. Because names are ASCII and numbers are integers within ±(2**53-1),
sorted compact JSON *is* that form, and no reader needs a number formatter to reproduce it. The bytes are the evidence:
they are stored and hashed as they are, never rewritten, and hold no index (the tree gives it). Not here: which
intent becomes which entry (`intents.py`), hashing (`merkle.py`), storage.
Specification: architecture.md, section 10.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeAlias

import orjson

from gateway.audit.errors import AuditError

Scalar: TypeAlias = str | int | bool | None
Entry: TypeAlias = dict[str, Scalar]

VERSION: Final = 1
MAX_LEAF: Final = 65_535  # the most that the uint16 length prefix of an entry bundle can say (C2SP tlog-tiles)
MAX_INTEGER: Final = 2**53 - 1
MAX_STRING: Final = 4 * 1024
MAX_DOCUMENT: Final = 48 * 1024  # for members whose name ends in `_json`
MAX_MEMBERS: Final = 128
SALT_BYTES: Final = 32
_INNER: Final = bytes(each ^ 0x36 for each in range(256))  # translates the key of HMAC for its inner hash
_OUTER: Final = bytes(each ^ 0x5C for each in range(256))
_INNER_REST: Final = bytes(64 - SALT_BYTES).translate(_INNER)  # a key is filled up to a block of the hash
_OUTER_REST: Final = bytes(64 - SALT_BYTES).translate(_OUTER)
ACTOR_GATEWAY: Final = "gateway"  # the actor, if neither an agent nor a person acted

_STRING = (str,)
_INTEGER = (int,)
_BOOLEAN = (bool,)
_STRING_OR_NULL = (str, type(None))
_INTEGER_OR_NULL = (int, type(None))

Members: TypeAlias = Mapping[str, tuple[type, ...]]

COMMON: Final[Members] = {
    "v": _INTEGER,
    "id": _STRING,
    "kind": _STRING,
    "time": _STRING,
    "org": _STRING,
    "boot": _STRING,
    "actor": _STRING,
    "epoch": _INTEGER,
}
"""Every entry has these: `boot` is the process that wrote it, `epoch` the registry's, `time` nanoseconds since 1970."""

KINDS: Final[Mapping[str, Members]] = {
    "decided": {
        "agent": _STRING_OR_NULL,
        "key": _STRING_OR_NULL,
        "allow": _BOOLEAN,
        "open": _BOOLEAN,
        "reason": _STRING,
        "reasons_json": _STRING,
    },
    "completed": {
        "agent": _STRING_OR_NULL,
        "decision": _STRING,
        "outcome": _STRING,
        "status": _INTEGER_OR_NULL,
        "input_tokens": _INTEGER_OR_NULL,
        "output_tokens": _INTEGER_OR_NULL,
    },
    "change": {"what": _STRING},
    "activation": {"activation": _STRING, "outcome": _STRING},
    "refused": {
        "agent": _STRING_OR_NULL,
        "key": _STRING_OR_NULL,
        "reason": _STRING,
        "count": _INTEGER,
        "first_ns": _STRING,
        "last_ns": _STRING,
    },
    "recovered": {"boots_json": _STRING, "count": _INTEGER},
    "checkpoint": {"origin": _STRING, "size": _INTEGER, "root": _STRING},
    "erasure": {"decisions_json": _STRING, "count": _INTEGER},
    "epoch": {"previous": _STRING, "size": _INTEGER, "root": _STRING, "reason": _STRING},
}
"""The kinds of version 1, and what each must have. Further members may follow, under the same rules."""

# Short because they are names, not text: an index holds some of them, and a table shows them.
_CAPS: Final[Mapping[str, int]] = {
    "id": 64,
    "org": 64,
    "boot": 64,
    "agent": 64,
    "key": 64,
    "decision": 64,
    "actor": 256,
    "what": 128,
    "outcome": 64,
    "reason": 1024,
    "origin": 256,
}

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TIME = re.compile(r"[1-9][0-9]{18}")  # 2001 to 2286: always 19 digits, so the size of a leaf does not depend on it
PLACEHOLDER_TIME: Final = "1" + "0" * 18


def canonical(document: Any) -> bytes:
    """`document` as RFC 8785 JSON; the caller has made sure that it holds no floats and only ASCII names."""
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        # Lone surrogates, integers beyond 64 bits, foreign types.
        raise AuditError("bad_entry", f"not expressible as canonical JSON: {error}") from error


def document(value: Any) -> str:
    """`value` (lists, objects, strings, integers, booleans, null) as canonical JSON text for a `_json` member."""
    _check_document(value, depth=0)
    return canonical(value).decode()


def _check_document(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is dict and depth < 64:
        for name, item in value.items():
            if type(name) is not str or not name.isascii():
                raise AuditError("bad_entry", "a document in the log has ASCII names only")
            _check_document(item, depth + 1)
    elif kind in (list, tuple) and depth < 64:
        for item in value:
            _check_document(item, depth + 1)
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise AuditError(
                "bad_entry", "a document in the log has integers within ±(2**53-1) only, others as strings"
            )
    elif kind is not str and kind is not bool and value is not None:
        raise AuditError("bad_entry", f"a document in the log cannot hold a {kind.__name__} here")


def commitment(salt: bytes, name: str, value: bytes) -> str:
    """The salted commitment to a value that is not in the leaf: HMAC-SHA-256(salt, name || 0x00 || value), in hex.

    While the salt exists this proves the value; once it is erased nothing can be guessed from the commitment.
    """
    if len(salt) != SALT_BYTES:
        raise AuditError("bad_entry", f"a commitment needs a salt of {SALT_BYTES} bytes")
    # As RFC 2104 says. `hmac.digest` lets go of the interpreter for it, however small the value is.
    inner = hashlib.sha256(salt.translate(_INNER) + _INNER_REST + name.encode() + b"\x00" + value)
    return hashlib.sha256(salt.translate(_OUTER) + _OUTER_REST + inner.digest()).hexdigest()


_SCALARS: Final = (str, int, bool, type(None))


def check(entry: Mapping[str, Any], size: int = MAX_LEAF) -> None:
    """Raise `bad_entry` unless these are the members of an entry: the one rule book for writers and readers.

    `size` is that of its leaf, if it has one already.
    """
    kind = entry.get("kind")
    if type(kind) is not str or kind not in KINDS:
        _refuse(f"`{kind}` is not a kind of entry")
    if type(entry.get("v")) is not int or not 1 <= entry["v"] <= VERSION:
        _refuse("the entry is of a version that this program does not know")
    if len(entry) > MAX_MEMBERS:
        _refuse(f"an entry has at most {MAX_MEMBERS} members")
    _check_values(entry, kind, size)
    if not _TIME.fullmatch(entry["time"]):
        _refuse("`time` is not a number of nanoseconds since 1970 in 19 digits")


def check_members(members: Mapping[str, Any]) -> None:
    """Raise `bad_entry` unless each of these can be a member of an entry."""
    _check_values(members, "", MAX_LEAF)


def _check_values(members: Mapping[str, Any], kind: str, size: int) -> None:
    short, long, integers = _rules(kind, tuple(members), tuple(map(type, members.values())))
    # A leaf has more bytes than each of its strings.
    for name, cap in short if size <= MAX_STRING else (*short, *long):
        value = members[name]
        # UTF-8 has at least as many bytes as characters, so only non-ASCII strings must be encoded to know.
        if len(value) > cap or (not value.isascii() and len(value.encode("utf-8", "surrogatepass")) > cap):
            _refuse(f"`{name}` is longer than {cap} bytes")
    for name in integers:
        if not -MAX_INTEGER <= members[name] <= MAX_INTEGER:
            _refuse(f"`{name}` is beyond ±(2**53-1): give it as a string")


_Caps: TypeAlias = tuple[tuple[str, int], ...]


@functools.lru_cache(maxsize=512)
def _rules(kind: str, names: tuple[str, ...], types: tuple[type, ...]) -> tuple[_Caps, _Caps, tuple[str, ...]]:
    """The strings of these members, short ones and others, with how many bytes they may have; and the integers.

    Raises `bad_entry` if an entry of this kind cannot have these members. An entry of the hot path has some forty, and
    nearly all such entries have the same ones.
    """
    required = {**COMMON, **KINDS[kind]} if kind else {}
    for name in required:
        if name not in names:
            _refuse(f"a `{kind}` entry lacks `{name}`")
    strings, integers = [], []
    for name, found in zip(names, types, strict=True):
        cap = _cap(name)
        if found not in required.get(name, _SCALARS):
            if name in required:
                _refuse(f"`{name}` of a `{kind}` entry has the wrong type")
            _refuse(f"`{name}` is a {found.__name__}: members are strings, integers, booleans or null")
        if found is str:
            strings.append((name, cap))
        elif found is int:
            integers.append(name)
    short = tuple([each for each in strings if each[1] < MAX_STRING])
    return short, tuple([each for each in strings if each[1] >= MAX_STRING]), tuple(integers)


def _cap(name: Any) -> int:
    """The most bytes that a string under this name may have."""
    if type(name) is not str or not _NAME.fullmatch(name):
        _refuse(f"`{name}` is not a name for a member: lower case ASCII letters, digits and `_`")
    return _CAPS.get(name) or (MAX_DOCUMENT if name.endswith("_json") else MAX_STRING)


def agent_of(entry: Mapping[str, Scalar]) -> str | None:
    """The agent that an entry concerns, of whatever kind it is: what the index finds it by.

    In a change of a binding or limit it is its subject, which may also be a team or an organization.
    """
    agent = entry.get("agent") or entry.get("about")
    return agent if isinstance(agent, str) else None


def opened(entry: Mapping[str, Scalar]) -> dict[str, Any]:
    """The entry for programs: each document as a value, under its name without `_json`. Other texts stay so."""
    found: dict[str, Any] = {}
    for name, value in entry.items():
        short = name.removesuffix("_json")
        if short != name and short not in entry and isinstance(value, str):
            try:
                found[short] = orjson.loads(value)
                continue
            except orjson.JSONDecodeError:
                pass
        found[name] = value
    return found


def encode(entry: Mapping[str, Scalar]) -> bytes:
    """The leaf of an entry, which has been or will be checked."""
    leaf = canonical(entry)
    if len(leaf) > MAX_LEAF:
        _refuse(f"an entry has at most {MAX_LEAF} bytes, this one has {len(leaf)}")
    return leaf


def decode(leaf: bytes) -> Entry:
    """The entry that a leaf stands for; raises `bad_entry` for any bytes that `encode` would not have made."""
    if len(leaf) > MAX_LEAF:
        _refuse(f"a leaf has at most {MAX_LEAF} bytes")
    try:
        entry = orjson.loads(leaf)
    except orjson.JSONDecodeError as error:
        raise AuditError("bad_entry", f"the leaf is not JSON: {error}") from error
    if type(entry) is not dict:
        _refuse("the leaf is not a JSON object")
    check(entry, len(leaf))
    if canonical(entry) != leaf:  # spaces, order, escapes, repeated names
        _refuse("the leaf is not in canonical form")
    return entry


def _refuse(text: str) -> NoReturn:
    raise AuditError("bad_entry", text)
