"""Request bodies as multipart forms, parsed so strictly that no other parser can find other fields in the same bytes.

Parsers differ in what they skip before the first boundary and after the last, in where a boundary may stand, in which
of two equal fields counts, and in how they read a header of a part. python-multipart finds the parts; then the body
must be exactly the one way to write down what was found. Files are opaque: only their names, types and sizes are read.
Specification: architecture.md, section 7, step 4; RFC 7578.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from gateway.body import WINDOW, Body
from gateway.call import Reference
from gateway.pauses import Pauses
from gateway.upstream.providers import members
from gateway.upstream.strict_json import shown

_MAX_PARTS = 256
# A token, with or without quotes: both are read alike by all parsers.
_CONTENT_TYPE = re.compile(r"multipart/form-data; ?boundary=(\"?)([A-Za-z0-9'+_.-]{1,70})\1", re.IGNORECASE)
_DISPOSITION = re.compile(r'form-data; name="([^"\\]*)"(?:; filename="([^"\\ ](?:[^"\\]*[^"\\ ])?)")?')
# PHP and others make objects and lists of `a[b]` and `a[]`.
_NAME = re.compile(r"([A-Za-z0-9_.-]{1,64})((?:\[[A-Za-z0-9_.-]{0,64}\]){0,4})")
_TEXT = re.compile(r"text/plain(?:; ?charset=\"?utf-8\"?)?|application/json", re.IGNORECASE)
_FILE = re.compile(
    r"(?!multipart/|message/)[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}(?:;[ -~]*)?", re.IGNORECASE
)
_HEADERS = frozenset({"content-disposition", "content-type", "content-length", "content-transfer-encoding"})
# A place of the parser, in the piece that it was given.
_POSITION = re.compile(r" (?:at(?: index)? |\()[0-9]+\)?$")
_PLAIN_ENCODINGS = ("binary", "8bit", "7bit")
_FILE_IDS = frozenset({"file_id", "file_ids"})

# Every refusal reaches the client. With the parser's own lines, clients could fill the operator's log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form."""

    filename: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Form:
    """The values of a form by their names, in order. Only a name that ends in `[]` can have several."""

    values: Mapping[str, tuple[str | Upload, ...]]

    def text(self, name: str) -> str | None:
        """The field `name`, which policies rely on."""
        value = self.values.get(name, (None,))[0]
        return value if isinstance(value, str) else None

    def texts(self) -> dict[str, Any]:
        """The form as policies see it, without its files."""
        return {name: value for name, value in self.document().items() if not _is_file(value)}

    def flag(self, name: str) -> bool | None:
        found = self.text(name)
        if found not in (None, "true", "false"):
            members.refuse(f"`{name}` must be true or false")
        return None if found is None else found == "true"

    def number(self, name: str) -> int | None:
        found = self.text(name)
        if found is not None and not re.fullmatch(r"[1-9][0-9]{0,8}", found):
            members.refuse(f"`{name}` must be a whole number")
        return None if found is None else int(found)

    def references(self) -> tuple[Reference, ...]:
        """The uploaded files that the form names instead of bringing them along."""
        named = [value for name, values in self.values.items() if _keys(name)[-1] in _FILE_IDS for value in values]
        return tuple(Reference("file", members.text(each, "an id in the form")) for each in named)

    def document(self) -> dict[str, Any]:
        """The form as policies see it: what a file holds is left out."""
        return {
            name: [_shown(each) for each in values] if name.endswith("[]") else _shown(values[0])
            for name, values in self.values.items()
        }


def boundary(content_type: str) -> str | None:
    """The boundary that a content type names; None where it is not that of a form, or could be read in two ways."""
    found = _CONTENT_TYPE.fullmatch(content_type)
    return None if found is None else found[2]


def content_type(raw: bytes) -> str:
    """The content type that a client would send with this form, by the form's first line; empty where it has none."""
    first = raw[:128].partition(b"\r\n")[0].decode("latin-1")
    return f"multipart/form-data; boundary={first[2:]}" if first.startswith("--") else ""


def parse(content_type: str, body: Body, names: frozenset[str]) -> Form:
    """Parse a form; `Denied` where it is none. Fields called `names` have that one spelling and are texts."""
    separator = boundary(content_type)
    if separator is None:
        members.refuse("the content type must be multipart/form-data with a boundary")
    raw = body if isinstance(body, bytes) else body.read()
    parts = _parts(separator.encode(), raw)
    values: dict[str, list[str | Upload]] = {}
    for part in parts:
        name, value = _value(part, raw)
        if name in values and not name.endswith("[]"):
            members.refuse(f"the field {shown(name)} appears twice")
        values.setdefault(name, []).append(value)
    bases: dict[str, str] = {}
    for name, given in values.items():
        base = _keys(name)[0]
        plain = name in (base, f"{base}[]")
        # `a`, `a[]` and `a[b]` at once: which of them counts?
        if base in bases and (plain or bases[base] in (base, f"{base}[]")):
            members.refuse(f"the fields {shown(bases[base])} and {shown(name)} exclude each other")
        bases[base] = name
        if base in names and (name != base or not isinstance(given[0], str)):
            members.refuse(f"the field `{base}` must be one text")
        base, *inner = _keys(name)
        members.check_unread({base: None}, names, frozenset())
        members.check_unread(dict.fromkeys(inner), frozenset(), frozenset())
        members.check_names(dict.fromkeys(inner), _FILE_IDS)
    members.check_names(bases, names | _FILE_IDS)
    return Form({name: tuple(given) for name, given in values.items()})


@dataclass(slots=True)
class _Part:
    """One part as python-multipart finds it, and where its content stands in the body."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0
    begin: int = 0

    @property
    def end(self) -> int:
        return self.begin + self.size


class _Found:
    """Receives what the parser tells while it reads a body."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self._name = self._text = b""

    def part_begin(self) -> None:
        if len(self.parts) == _MAX_PARTS:
            members.refuse(f"a form may have at most {_MAX_PARTS} parts")
        self.parts.append(_Part())

    def header_begin(self) -> None:
        self._name = self._text = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._text += data[start:end]

    def header_end(self) -> None:
        self.parts[-1].headers.append((self._name, self._text))

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].size += end - start


def _parts(separator: bytes, raw: bytes) -> list[_Part]:
    found = _Found()
    parser = MultipartParser(
        separator,
        {
            "on_part_begin": found.part_begin,
            "on_header_begin": found.header_begin,
            "on_header_field": found.header_field,
            "on_header_value": found.header_value,
            "on_header_end": found.header_end,
            "on_part_data": found.part_data,
        },
    )
    pause, at = Pauses(), 0
    try:
        # It looks for a boundary in all that it gets, and in one step for all of 32 MiB nobody else would get on.
        for at in range(0, len(raw), WINDOW):
            pause()
            parser.write(raw[at : at + WINDOW])
    except MultipartParseError as error:
        what = _POSITION.sub("", f"{str(error)[:1].lower()}{str(error)[1:200]}")
        members.refuse(f"the body is no form: {what} at byte {at + error.offset}")
    if not found.parts:
        members.refuse("the body is no form: it has no parts")
    _check_framing(b"--" + separator, found.parts, raw)
    return found.parts


def _check_framing(delimiter: bytes, parts: list[_Part], raw: bytes) -> None:
    """Refuse a body that is not exactly these parts, each between two delimiters, with nothing before or after them.

    Each delimiter in the body is one of those, so the content of a part is all that stands between two of them.
    """
    at = 0
    for part in parts:
        head = b"".join([delimiter, b"\r\n", *(b"%s: %s\r\n" % header for header in part.headers), b"\r\n"])
        if not raw.startswith(head, at):
            members.refuse("the body is no form: something stands where a part and its headers should begin")
        at = part.begin = at + len(head)
        at = part.end
        if not raw.startswith(b"\r\n" + delimiter, at):
            members.refuse("the body is no form: it ends in the middle of a part")
        at += 2
    if raw[at : at + len(delimiter) + 5] not in (delimiter + b"--", delimiter + b"--\r\n"):
        members.refuse("the body is no form: it must end with the closing boundary")
    if _count(delimiter, raw) != len(parts) + 1:
        members.refuse("the body is no form: the boundary stands inside of a part")


def _count(delimiter: bytes, raw: bytes) -> int:
    """The number of delimiters in the body. No step works on more than a window of it."""
    beyond = WINDOW + len(delimiter) - 1  # one that begins in a window may end in the next one
    pause, count = Pauses(), 0
    for at in range(0, len(raw), WINDOW):
        pause()
        count += raw.count(delimiter, at, at + beyond)
    return count


def _value(part: _Part, raw: bytes) -> tuple[str, str | Upload]:
    """The name of a part, and the text or the file in it."""
    headers = _headers(part)
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if disposition is None:
        members.refuse('a part must begin with `Content-Disposition: form-data; name="…"`, with or without a filename')
    name, filename = disposition.groups()
    if not _NAME.fullmatch(name) or name == "_charset_":
        members.refuse(f"the field name {shown(name)} may hold only letters, digits, `_.-` and keys in brackets")
    size = part.end - part.begin
    if headers.get("content-length", str(size)) != str(size):
        members.refuse(f"the length of the field {shown(name)} is not that of its content")
    if headers.get("content-transfer-encoding", "binary").lower() not in _PLAIN_ENCODINGS:
        members.refuse(f"the field {shown(name)} must not be encoded")
    kind = headers.get("content-type")
    if filename is not None:
        if kind is not None and not _FILE.fullmatch(kind):
            members.refuse(f"the content type of the field {shown(name)} is not that of a file")
        return name, Upload(filename, kind or "", size)
    if kind is not None and not _TEXT.fullmatch(kind):
        members.refuse(f"the field {shown(name)} is no text: a file needs a filename")
    try:
        return name, _decoded(raw, part.begin, part.end)
    except UnicodeDecodeError:
        members.refuse(f"the field {shown(name)} is not UTF-8")


def _decoded(raw: bytes, begin: int, end: int) -> str:
    """The text that stands there. No step works on more than a window of it: see `json_body.py`."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    pause, text = Pauses(), ""
    for at in range(begin, end, WINDOW):
        pause()
        text += decoder.decode(raw[at : min(at + WINDOW, end)])
    return text + decoder.decode(b"", True)


def _headers(part: _Part) -> dict[str, str]:
    """The headers of a part by their names in lower case; each known, and there once."""
    found: dict[str, str] = {}
    for name, value in part.headers:
        key = name.decode("latin-1").lower()
        if key not in _HEADERS or key in found:
            members.refuse(f"the header {shown(key)} of a part is not known, or appears twice")
        try:
            found[key] = value.decode("utf-8")
        except UnicodeDecodeError:
            members.refuse(f"the header {shown(key)} of a part is not UTF-8")
        if not found[key].isprintable():
            members.refuse(f"the header {shown(key)} of a part holds control characters")
    return found


def _keys(name: str) -> list[str]:
    """`a[b][]` as `a`, `b`."""
    return [each.rstrip("]") for each in name.split("[") if each != "]"]


def _is_file(shown: object) -> bool:
    return isinstance(shown, dict) or (isinstance(shown, list) and any(isinstance(each, dict) for each in shown))


def _shown(value: str | Upload) -> object:
    if isinstance(value, str):
        return value
    return {"filename": value.filename, "content_type": value.content_type, "bytes": value.size}
