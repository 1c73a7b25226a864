"""Multipart forms: what is read out of them, and that everything two parsers could read differently is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from python_multipart.multipart import MultipartParser

from gateway.body import WINDOW
from gateway.errors import Denied
from gateway.upstream.providers import forms
from gateway.upstream.providers.forms import Upload

NAMES = frozenset({"model", "stream", "n"})
TYPE = "multipart/form-data; boundary=XyZ"


def part(name: str, value: bytes = b"v", *lines: str, disposition: str = "") -> bytes:
    disposition = disposition or f'form-data; name="{name}"'
    head = [f"Content-Disposition: {disposition}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + value


def body(*parts: bytes) -> bytes:
    return b"".join(b"--XyZ\r\n" + each + b"\r\n" for each in parts) + b"--XyZ--\r\n"


MODEL = part("model", b"gpt-image-1")
FILE = part("", b"\x00\xff\r\n--Xy", "Content-Type: image/png", disposition='form-data; name="image"; filename="a.png"')


def test_fields_and_files() -> None:
    found = forms.parse(TYPE, body(MODEL, FILE, part("n", b"2"), part("stream", b"true"), part("empty", b"")), NAMES)
    assert (found.text("model"), found.number("n"), found.flag("stream")) == ("gpt-image-1", 2, True)
    assert found.values["image"] == (Upload("a.png", "image/png", 8),)
    assert found.document() == {
        "model": "gpt-image-1",
        "image": {"filename": "a.png", "content_type": "image/png", "bytes": 8},
        "n": "2",
        "stream": "true",
        "empty": "",
    }


def test_lists_and_keys() -> None:
    raw = body(part("include[]", b"a"), part("include[]", b"b"), part("expires[anchor]"), part("expires[seconds]"))
    assert forms.parse(TYPE, raw, NAMES).document() == {
        "include[]": ["a", "b"],
        "expires[anchor]": "v",
        "expires[seconds]": "v",
    }


def test_files_that_are_named() -> None:
    raw = body(part("image[0][file_id]", b"file-1"), part("file_ids[]", b"file-2"), part("file_id", b"file-3"))
    assert [each.id for each in forms.parse(TYPE, raw, NAMES).references()] == ["file-1", "file-2", "file-3"]


def test_what_httpx_sends() -> None:
    """Most of the Python SDKs use it."""
    request = httpx.Request(
        "POST",
        "http://x",
        data={"model": "m", "include[]": ["a", "b"]},
        files=[("image[]", ("ä.png", b"1", "image/png")), ("image[]", ('q".png', b"22", "image/png"))],
    )
    found = forms.parse(request.headers["content-type"], request.read(), NAMES)
    assert found.text("model") == "m"
    assert [each.size for each in found.values["image[]"] if isinstance(each, Upload)] == [1, 2]


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        ("multipart/form-data; boundary=XyZ", "XyZ"),
        ('multipart/form-data;boundary="XyZ"', "XyZ"),
        ("Multipart/Form-Data; Boundary=----WebKitFormBoundary7", "----WebKitFormBoundary7"),
        ("multipart/form-data", None),
        ('multipart/form-data; boundary="XyZ', None),
        ('multipart/form-data; boundary=XyZ"', None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a b", None),
        ("multipart/form-data; boundary=a/b", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; charset=utf-16; boundary=a", None),
        ("multipart/form-data; boundary=" + "a" * 71, None),
        ("multipart/mixed; boundary=a", None),
        ("application/x-www-form-urlencoded", None),
    ],
)
def test_the_boundary(content_type: str, found: str | None) -> None:
    assert forms.boundary(content_type) == found


REFUSED = {
    # The frame
    "nothing": b"",
    "no part": b"--XyZ--\r\n",
    "another boundary": body(MODEL).replace(b"XyZ", b"XyW"),
    "text before": b"preamble\r\n" + body(MODEL),
    "a line before": b"\r\n" + body(MODEL),
    "text after": body(MODEL) + b"epilogue",
    "a second form after": body(MODEL) + body(part("model", b"other")),
    "no end": b"--XyZ\r\n" + MODEL + b"\r\n",
    "an end of one dash": b"--XyZ\r\n" + MODEL + b"\r\n--XyZ-",
    "no end of a part": b"--XyZ\r\n" + MODEL,
    "spaces after a boundary": body(MODEL).replace(b"--XyZ\r\n", b"--XyZ  \r\n", 1),
    "spaces after the last boundary": body(MODEL)[:-2] + b" \r\n",
    "newlines alone": body(MODEL).replace(b"\r\n", b"\n"),
    "a newline alone before a boundary": body(MODEL, part("a")).replace(b"gpt-image-1\r\n", b"gpt-image-1\n"),
    "a boundary in a line of a part": body(part("prompt", b"x --XyZ\r\n" + part("model", b"o")), MODEL),
    "a boundary after a newline in a part": body(part("prompt", b"x\n--XyZ\n" + part("model", b"o")), MODEL),
    "a longer boundary in a part": body(part("prompt", b"x\r\n--XyZZ\r\n" + part("model", b"o")), MODEL),
    "too many parts": body(*[part(f"a{number}") for number in range(300)]),
    "a file id in camel case": body(MODEL, part("fileId", b"file-1")),
    "a file id in camel case, in brackets": body(MODEL, part("image[fileId]", b"file-1")),
    "an adapter": body(MODEL, part("adapter_id", b"x")),
    # Headers of a part
    "no headers": body(b"\r\nx"),
    "no disposition": body(b"Content-Type: text/plain\r\n\r\nx"),
    "two dispositions": body(part("model", b"m", 'Content-Disposition: form-data; name="n"')),
    "another disposition": body(part("", disposition='attachment; name="model"')),
    "no name": body(part("", disposition="form-data")),
    "no quotes": body(part("", disposition="form-data; name=model")),
    "single quotes": body(part("", disposition="form-data; name='model'")),
    "two names": body(part("", disposition='form-data; name="model"; name="n"')),
    "a name with a star": body(part("", disposition="form-data; name*=utf-8''model")),
    "a filename with a star": body(part("", disposition="form-data; name=\"image\"; filename*=utf-8''a")),
    "a filename before the name": body(part("", disposition='form-data; filename="a"; name="image"')),
    "an empty filename": body(part("", disposition='form-data; name="model"; filename=""')),
    "a backslash": body(part("", disposition='form-data; name="mod\\"el"')),
    "no space": body(part("", disposition='form-data;name="model"')),
    "two spaces after the colon": body(MODEL.replace(b": ", b":  ", 1)),
    "a tab after the colon": body(MODEL.replace(b": ", b":\t", 1)),
    "a folded header": body(MODEL.replace(b"; name", b";\r\n name")),
    "an unknown header": body(part("model", b"m", "X-Name: n")),
    "an encoding": body(part("model", b"bQ==", "Content-Transfer-Encoding: base64")),
    "a wrong length": body(part("model", b"m", "Content-Length: 2")),
    "another charset": body(part("model", b"m", "Content-Type: text/plain; charset=utf-16")),
    "a field of another type": body(part("model", b"m", "Content-Type: application/octet-stream")),
    "a form in a form": body(
        part("", b"x", "Content-Type: multipart/mixed; boundary=b", disposition='form-data; name="a"; filename="f"')
    ),
    # Names and values
    "a field twice": body(MODEL, part("model", b"other")),
    "a file twice": body(FILE, FILE),
    "a field and a list": body(part("a"), part("a[]")),
    "a list and keys": body(part("a[]"), part("a[b]")),
    "a known field as a list": body(part("model[]", b"m")),
    "a known field with a key": body(part("model[id]", b"m")),
    "a known field as a file": body(part("", disposition='form-data; name="model"; filename="m"')),
    "another field that names a model": body(part("model_id", b"m")),
    "a key that names a model": body(part("extra[model]", b"m")),
    "a key that names a model to fall back on": body(part("extra[][fallback_models][]", b"m")),
    "another case": body(part("Model", b"m")),
    "another spelling": body(part("mo_del", b"m")),
    "a space in a name": body(part("model ", b"m")),
    "an escaped name": body(part("mod%65l", b"m")),
    "letters that look alike": body(part("mоdel", b"m")),
    "an empty name": body(part("")),
    "unbalanced brackets": body(part("a[b", b"m")),
    "the field that names the charset": body(part("_charset_", b"utf-16")),
    "a field that is not utf-8": body(part("model", b"\xff")),
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(Denied) as caught:
        forms.parse(TYPE, raw, NAMES)
    assert caught.value.code == "bad_request"
    assert caught.value.reasons[0]


@pytest.mark.parametrize("name", ["stream", "n"])
def test_flags_and_numbers_have_one_spelling(name: str) -> None:
    for text in (b"True", b"1.0", b"yes", b" 1", b""):
        found = forms.parse(TYPE, body(part(name, text)), NAMES)
        with pytest.raises(Denied):
            found.flag(name) if name == "stream" else found.number(name)


def test_a_large_file_of_line_ends_is_read_at_once() -> None:
    """A parser that goes byte by byte over them takes seconds for a megabyte."""
    content = b"\r\n--Xy" * 2_000_000
    raw = body(part("", content, disposition='form-data; name="file"; filename="f"'))
    assert forms.parse(TYPE, raw, NAMES).values["file"] == (Upload("f", "", len(content)),)


class Watched(bytes):
    """A body that notes the largest piece taken out of it."""

    largest = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        if isinstance(found, bytes):
            Watched.largest = max(Watched.largest, len(found))
        return found


@pytest.mark.parametrize("shift", range(4))
def test_a_long_text_is_read_in_small_steps(shift: int) -> None:
    """Wherever a window ends inside of a letter. Decoding all of it in one step would stop the event loop."""
    text = "a" * shift + "\U0001f600" * (WINDOW // 2)
    Watched.largest = 0
    assert forms.parse(TYPE, Watched(body(MODEL, part("prompt", text.encode()))), NAMES).text("prompt") == text
    assert 0 < Watched.largest <= WINDOW
    for broken in (text.encode()[:-1], text.encode()[:-1] + b"a", b"a" * WINDOW + b"\xff" + b"a" * WINDOW):
        with pytest.raises(Denied, match="malformed") as caught:
            forms.parse(TYPE, body(MODEL, part("prompt", broken)), NAMES)
        assert caught.value.reasons == ("the field `prompt` is not UTF-8",)


@pytest.mark.parametrize("content", [b"x", b"\r", b"\r\n--Xy", b"-"], ids=["text", "line ends", "half boundaries", "-"])
def test_a_boundary_may_stand_across_windows(content: bytes) -> None:
    """The parser gets windows of a body: whatever they cut in two, it finds the same parts."""
    head = len(body(MODEL)) - len(b"--XyZ--\r\n") + len(b"--XyZ\r\n") + FILE.index(b"\r\n\r\n") + 4
    for size in range(WINDOW - head - 12, WINDOW - head + 6):
        file = FILE[: FILE.index(b"\r\n\r\n") + 4] + (content * size)[:size]
        found = forms.parse(TYPE, body(MODEL, file, part("n", b"2")), NAMES)
        assert found.values["image"] == (Upload("a.png", "image/png", size),)
        assert (found.text("model"), found.number("n")) == ("gpt-image-1", 2)


def test_the_parser_is_fed_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It searches all that it gets in one step, and nobody else gets on meanwhile."""
    fed: list[int] = []
    write = MultipartParser.write

    def noted(parser: MultipartParser, data: bytes) -> int:
        fed.append(len(data))
        return write(parser, data)

    monkeypatch.setattr(MultipartParser, "write", noted)
    raw = body(MODEL, FILE + b"x" * 3 * WINDOW)
    forms.parse(TYPE, raw, NAMES)
    assert max(fed) <= WINDOW
    assert sum(fed) == len(raw)


def test_a_refusal_names_the_place_in_the_whole_body() -> None:
    raw = body(MODEL, FILE + b"x" * WINDOW, b"not a header\r\n\r\nv")
    with pytest.raises(Denied) as refused:
        forms.parse(TYPE, raw, NAMES)
    assert refused.value.reasons == (
        f"the body is no form: found invalid character 32 in header at byte {raw.index(b' a header')}",
    )
