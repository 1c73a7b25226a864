"""Forms for every route that takes one: fields twice, names that look like others, and damaged framing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .case import AUTHORIZATION, CHUNKED, HOST, LATER, PROMPT, Case, chunks, head, length
from .members import LOOKS

_TYPE = b"multipart/form-data; boundary=XyZ"
_DISPOSITION = "Content-Disposition: form-data; "
_OTHER = "mock-second"


@dataclass(frozen=True, slots=True)
class FormWay:
    """A route with an ordinary form: its texts, and the field of its file."""

    target: bytes
    texts: dict[str, str]
    file: str

    @property
    def decides(self) -> str:
        """The field on which most depends, and which is given twice."""
        return next((name for name in ("model", "purpose") if name in self.texts), "x")

    def parts(self) -> list[bytes]:
        """The file carries the mark, so that every form has one."""
        content = f"\x89PNG {PROMPT}".encode("latin-1")
        head = f'{_DISPOSITION}name="{self.file}"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'.encode()
        return [*(text(name, value) for name, value in self.texts.items()), head + content]


WAYS = {
    "edits": FormWay(b"/v1/images/edits", {"model": "mock-1", "prompt": "a"}, "image"),
    "variations": FormWay(b"/v1/images/variations", {"model": "mock-1", "n": "1"}, "image"),
    "transcriptions": FormWay(b"/v1/audio/transcriptions", {"model": "mock-1"}, "file"),
    "translations": FormWay(b"/mock/v1/audio/translations", {"model": "mock-1"}, "file"),
    "files": FormWay(b"/v1/files", {"purpose": "assistants"}, "file"),
    "claude files": FormWay(b"/claude/v1/files", {}, "file"),
    "azure files": FormWay(b"/azure/openai/v1/files", {"purpose": "assistants"}, "file"),
    "azure edits": FormWay(b"/azure/openai/v1/images/edits?api-version=preview", {"model": "mock-1"}, "image"),
    "azure deployment": FormWay(
        b"/azure/openai/deployments/mock-1/audio/transcriptions?api-version=2024-10-21", {"model": "mock-1"}, "file"
    ),
}


def text(name: str, value: str, *lines: str, disposition: str = "") -> bytes:
    first = disposition or f'{_DISPOSITION}name="{name}"'
    return "\r\n".join([first, *lines, "", value]).encode("utf-8", "surrogatepass")


def form(parts: list[bytes], delimiter: bytes = b"--XyZ", end: bytes = b"--XyZ--\r\n", line: bytes = b"\r\n") -> bytes:
    return b"".join(delimiter + line + each + line for each in parts) + end


def cases() -> Iterator[Case]:
    for route, way in WAYS.items():
        whole = form(way.parts())
        yield _case(route, "a plain form", way, whole, served=True)
        yield from _fields(route, way)
        yield from _framing(route, way)
        yield from _headers_of_parts(route, way)
        yield from _types(route, way, whole)
        yield from _transport(route, way, whole)


def _sent(way: FormWay, data: bytes, *lines: bytes, kind: bytes = _TYPE) -> bytes:
    return head(HOST, AUTHORIZATION, b"Content-Type: " + kind, length(data), *lines, target=way.target) + data


def _case(route: str, note: str, way: FormWay, data: bytes, *, served: bool = False, refused: bool = False) -> Case:
    return Case(
        f"form of {route}: {note}", _sent(way, data), "served" if served else "refused" if refused else "either"
    )


def _fields(route: str, way: FormWay) -> Iterator[Case]:
    """Other fields beside the ordinary ones."""
    parts, name = way.parts(), way.decides
    own = [] if name == "x" else [text(name, _OTHER)]
    if own:
        yield _case(route, f"`{name}` twice", way, form([*parts, *own]), refused=True)
        yield _case(route, f"`{name}` twice, first", way, form([*own, *parts]), refused=True)
        same = form([*parts, text(name, way.texts[name])])
        yield _case(route, f"`{name}` twice with one value", way, same, refused=True)
        file = text("", "x", disposition=f'{_DISPOSITION}name="{name}"; filename="m.txt"')
        yield _case(route, f"`{name}` as a file beside it", way, form([*parts, file]), refused=True)
        alone = form([file, *parts[1:]])
        yield _case(route, f"`{name}` as a file instead of it", way, alone, refused=True)
        for other in (f"{name}[]", f"{name}[0]", f"{name}[a]", f"{name}[", f"{name}]", f"{name}.x", f"{name}[][]",
                      f"[{name}]", f"x[{name}]", f"{name}\\", f"{name}=x", f"{name};x", f"{name}%00", f"{name}%5b%5d",
                      f"data.{name}", f"{name}[model]", "_charset_", f"{name}\t", f"{name}&x"):  # fmt: skip
            yield _case(route, f"a field `{other}`", way, form([*parts, text(other, _OTHER)]))
        for look, change in LOOKS.items():
            if (other := change(name).replace("\\", "")) != name:
                yield _case(route, f"{look}: `{name}`", way, form([*parts, text(other, _OTHER)]))
                yield _case(route, f"{look}: `{name}`, first", way, form([text(other, _OTHER), *parts]))
        for value in (
            "mock-1 ",
            " mock-1",
            "mock-1\r\n",
            "\nmock-1",
            "mock-1\x00",
            "mock-1\u200b",
            "MOCK-1",
            "",
            "[]",
            '"mock-1"',
            "mock-1,mock-second",
            "mock-1\r\n--XyZ",
            "mock-1\r\n--Xy",
            "mock-\u202e1",
            "m\ufeffock-1",
        ):
            yield _case(route, f"`{name}` is {value!r}", way, form([text(name, value), *parts[1:]]))
    for other, value in {
        "models": _OTHER, "models[]": _OTHER, "fallbacks": _OTHER, "engine": _OTHER, "deployment": _OTHER,
        "model_id": _OTHER, "modelId": _OTHER, "model_name": _OTHER, "extra_body": f'{{"model":"{_OTHER}"}}',
        "extra_body[model]": _OTHER, "fallback_models[0]": _OTHER, "adapter_id": _OTHER, "lora_path": _OTHER,
        "api_base": "https://evil.example", "base_url": "https://evil.example", "api_key": "sk-x",
        "file_id": "file-1", "file_ids[]": "file-1", "file_ids": "file-1", "image[file_id]": "file-1",
        "x[file_id]": "file-1",
        "fileId": "file-1", "stream": "True", "Stream": "true", "n": "01", "N": "5", "prompt": "b",
        "metadata[model]": "x",
        "agent": "x", "prompt_id": "x", "preset": "x", "chat_template": "x", "timestamp_granularities[]": "word",
        "max_tokens": "9", "_method": "DELETE", "__proto__": _OTHER, "__proto__[model]": _OTHER,
        "constructor[model]": "x",
    }.items():  # fmt: skip
        if other not in way.texts:
            yield _case(route, f"also `{other}`", way, form([*parts, text(other, value)]))
    for value in ("true", "false", "True", "1", "", "true ", "tru\u200be", "on"):
        yield _case(route, f"`stream` is {value!r}", way, form([*parts, text("stream", value)]))
    many = [text(f"x{number}", "1") for number in range(300)]
    yield _case(route, "300 fields", way, form([*parts, *many]), refused=True)


def _framing(route: str, way: FormWay) -> Iterator[Case]:
    """The text around the parts."""
    parts, name = way.parts(), way.decides
    other, end = text(name, _OTHER), b"--XyZ--\r\n"
    whole = form(parts)
    for note, data in {
        "a preamble": b"hello\r\n" + whole, "an empty line before": b"\r\n" + whole, "LF before": b"\n" + whole,
        "a part as preamble": other + b"\r\n" + whole, "an epilogue": whole + b"bye",
        "lines behind": whole + b"\r\n\r\n",
        "a form as epilogue": whole + form([other]),
        "a part behind the end": whole + b"--XyZ\r\n" + other + b"\r\n" + end,
        "no end": form(parts, end=b""), "half an end": form(parts, end=b"--XyZ"),
        "an end of one dash": form(parts, end=b"--XyZ-"),
        "an end and a space": form(parts, end=b"--XyZ-- \r\n"), "an end twice": form(parts, end=end + end),
        "another end": form(parts, end=b"--XyY--\r\n"), "LF alone": form(parts, line=b"\n").replace(b"\r\n", b"\n"),
        "LF between parts": form(parts, line=b"\n"), "CR alone": form(parts, line=b"\r").replace(b"\r\n", b"\r"),
        "LF CR": form(parts, line=b"\n\r"), "a space behind a boundary": form(parts, delimiter=b"--XyZ "),
        "a tab behind a boundary": form(parts, delimiter=b"--XyZ\t"), "three dashes": form(parts, delimiter=b"---XyZ"),
        "one dash": form(parts, delimiter=b"-XyZ"), "no dashes": form(parts, delimiter=b"XyZ"),
        "a space before a boundary": form(parts, delimiter=b" --XyZ"),
        "a lower-case boundary": form(parts, delimiter=b"--xyz"),
        "a longer boundary": form(parts, delimiter=b"--XyZZ"),
        "text behind a boundary": form(parts, delimiter=b"--XyZ x"),
        "a boundary in quotes": form(parts, delimiter=b'--"XyZ"'),
        "a NUL behind a boundary": form(parts, delimiter=b"--XyZ\x00"),
        "no blank line": form([parts[0].replace(b"\r\n\r\n", b"\r\n", 1), *parts[1:]]),
        "two blank lines": form([parts[0].replace(b"\r\n\r\n", b"\r\n\r\n\r\n", 1), *parts[1:]]),
        "a blank line of spaces": form([parts[0].replace(b"\r\n\r\n", b"\r\n \r\n", 1), *parts[1:]]),
        "an empty part": form([b"", *parts]), "a part without headers": form([b"\r\nx", *parts]),
        "a boundary twice": form(parts).replace(b"--XyZ\r\n", b"--XyZ\r\n--XyZ\r\n", 1),
        "a boundary in a value": form([parts[0] + b"--XyZ", *parts[1:]]),
        "a boundary in a line of a file": form([*parts[:-1], parts[-1] + b"\r\nx--XyZ\r\n" + other]),
        "a boundary after LF in a file": form([*parts[:-1], parts[-1] + b"\n--XyZ\n" + other]),
        "a boundary after CR in a file": form([*parts[:-1], parts[-1] + b"\r--XyZ\r" + other]),
        "a boundary with a space in a file": form([*parts[:-1], parts[-1] + b"\r\n--XyZ \r\n" + other]),
        "an end in a file": form([*parts[:-1], parts[-1] + b"\r\n--XyZ--\r\n" + other]),
        "a look-alike boundary in a file": form([*parts[:-1], parts[-1] + b"\r\n--Xy\r\n" + other]),
        "a shorter boundary in a file": form([*parts[:-1], parts[-1] + b"\r\n--Xy--\r\n"]),
        "a form in a file": form([*parts[:-1], parts[-1] + b"\r\n--AbC\r\n" + other + b"\r\n--AbC--"]),
        "a boundary inside a header": form([parts[0].replace(b"\r\n\r\n", b"\r\nX: --XyZ\r\n\r\n", 1), *parts[1:]]),
        "nothing": b"", "an end only": end, "a boundary only": b"--XyZ\r\n", "JSON": b'{"model":"mock-1"}',
        "a form of another kind": b"model=mock-1&purpose=x", "the start of gzip": b"\x1f\x8b" + whole,
        "a byte order mark": b"\xef\xbb\xbf" + whole,
    }.items():  # fmt: skip
        yield _case(route, note, way, data, refused=note not in _HARMLESS)


_HARMLESS = frozenset({
    "a look-alike boundary in a file", "a shorter boundary in a file", "a form in a file", "two blank lines",
    "a boundary in a line of a file",
})  # fmt: skip


def _headers_of_parts(route: str, way: FormWay) -> Iterator[Case]:
    """The ways in which a part says what it is. The first part is replaced, or one is added."""
    parts, name = way.parts(), way.decides
    target = name if name != "x" else "model"
    replaced = parts[1:] if name != "x" else parts
    for disposition in (
        f"name={target}", f"name='{target}'", f'name=\\"{target}\\"', f'name = "{target}"', f'NAME="{target}"',
        f"name*=utf-8''{target}", f'name="x"; name="{target}"', f'name="{target}"; name="x"',
        f"name=\"x\"; name*=utf-8''{target}", f"name*=utf-8''{target}; name=\"x\"",
        f'name*0="{target[:2]}"; name*1="{target[2:]}"',
        f'name="{target[:2]}\\{target[2:]}"', f'name="{target}\\""', f'name="{target}', f'name="{target}" ',
        f'name="{target}";',
        f'name="{target}"; x=y', f'name="{target}" x', f' name="{target}"', f'name="{target}"; filename=""',
        f'filename="a"; name="{target}"',
        f'name="{target}"; filename=a', f"name=\"{target}\"; filename*=utf-8''a",
        f'name="{target}"; filename="a"; filename="b"',
        f"name=\"{target}\"; filename=\"a\"; filename*=utf-8''b", f'name="{target}"; filename="..\\..\\a"',
        f'name="{target}"; FILENAME="a"',
        f'name="{target}"; filename="../../a"', f'name="{target}"; filename="a\x00.png"',
        f'name="{target}"; filename=" a"',
        f'name="{target}"; filename="a\\"; name=\\"x"', f'name="{target}"; filename="a%22; name=%22x"',
        f"name=\"=?utf-8?q?{target}?=\"",
        f'name="{target}"; size=1', f'name="{target}"; charset=utf-16', "name", 'name=""', 'name=" "', f'"{target}"',
        f'name="{target}"; name*0*=utf-8\'\'x',
    ):  # fmt: skip
        part = text("", _OTHER, disposition=_DISPOSITION + disposition)
        yield _case(route, f"{disposition!r} instead", way, form([part, *replaced]))
        yield _case(route, f"{disposition!r} beside", way, form([*parts, part]))
    for first in (
        f'Content-Disposition: attachment; name="{target}"', f'Content-Disposition: Form-Data; name="{target}"',
        f'Content-Disposition:form-data; name="{target}"', f'Content-Disposition : form-data; name="{target}"',
        f'content-disposition: form-data; name="{target}"', f'Content-Disposition: form-data;name="{target}"',
        f'Content-Disposition: form-data;\r\n name="{target}"', f'Content-Disposition: form-data;\n name="{target}"',
        f'Content-Disposition: inline; name="{target}"', f'Content-Disposition: file; name="{target}"', "X: y",
        f'Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; name="{target}"',
        f'Content-Disposition: form-data; name="x"\nContent-Disposition: form-data; name="{target}"',
        f'name="{target}"',
        f'X: y\r\nContent-Disposition: form-data; name="{target}"',
        f'Content-Disposition\x00: form-data; name="{target}"',
        f'Content-Disposition: form-data; name="x"\r\nX-Name: {target}',
        f'C\u043entent-Disposition: form-data; name="{target}"',
    ):  # fmt: skip
        part = text("", _OTHER, disposition=first)
        yield _case(route, f"{first!r} instead", way, form([part, *replaced]))
        yield _case(route, f"{first!r} beside", way, form([*parts, part]))
    encoded = "bW9jay1zZWNvbmQ="
    for line, value in (
        ("Content-Transfer-Encoding: base64", encoded),
        ("Content-Transfer-Encoding: quoted-printable", "mock-=73econd"),
        ("content-transfer-encoding: BASE64", encoded), ("Content-Transfer-Encoding: binary", _OTHER),
        ("Content-Transfer-Encoding: 7bit", _OTHER), ("Content-Transfer-Encoding: x-uuencode", _OTHER),
        ("Content-Encoding: gzip", _OTHER), ("Content-Type: text/plain; charset=utf-16", _OTHER),
        ("Content-Type: text/plain; charset=utf-7", "+AG0-ock-1"), ("Content-Type: application/json", f'"{_OTHER}"'),
        ("Content-Type: text/plain", _OTHER), ("Content-Type: text/plain; charset=utf-8", _OTHER),
        ("Content-Length: 3", _OTHER),
        ("Content-Length: 11", _OTHER), ("Content-Type: multipart/mixed; boundary=A", f"--A\r\n\r\n{_OTHER}\r\n--A--"),
        ("Content-Type: multipart/form-data; boundary=A", f'--A\r\n{_DISPOSITION}name="{target}"\r\n\r\nx\r\n--A--'),
        ("Content-Type: message/rfc822", _OTHER), ("Content-Type: text/html", _OTHER), ("Content-ID: <a>", _OTHER),
        ("Content-Range: bytes 0-1/2", _OTHER), ("Transfer-Encoding: chunked", _OTHER), ("X-Other: y", _OTHER),
    ):  # fmt: skip
        yield _case(route, f"{line!r} instead", way, form([text(target, value, line), *replaced]))
        yield _case(route, f"{line!r} of a file", way, form([*parts, text("", value, line,
                    disposition=f'{_DISPOSITION}name="other"; filename="b"')]))  # fmt: skip


def _types(route: str, way: FormWay, whole: bytes) -> Iterator[Case]:
    """Content types, of which each names some boundary."""
    for kind in (
        b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=Abc",
        b"multipart/form-data; boundary=xyz", b"multipart/form-data; boundary=XyZ; boundary=Abc",
        b"multipart/form-data; boundary=Abc; boundary=XyZ", b"multipart/form-data; boundary='XyZ'",
        b"multipart/mixed; boundary=XyZ",
        b"multipart/related; boundary=XyZ", b"multipart/form-data, multipart/form-data; boundary=XyZ",
        b"application/json",
        b"multipart/form-data; boundary=XyZ, application/json", b"multipart/form-data; charset=utf-16; boundary=XyZ",
        b"multipart/form-data; boundary=XyZ; charset=utf-7", b"multipart/form-data; boundary*=utf-8''XyZ",
        b"text/plain; boundary=XyZ",
        b"multipart/form-data; boundary*0=Xy; boundary*1=Z", b"multipart/form-data; boundary=\"Xy\\Z\"",
        b"multipart/form-data boundary=XyZ",
        b"multipart/form-data; boundary=XyZ\x00", b"multipart/form-data; boundary = XyZ",
        b"multipart/form-data;; boundary=XyZ",
        b"multipart/form-data; x=\"; boundary=Abc\"; boundary=XyZ",
        b"multipart/form-data; xboundary=Abc; boundary=XyZ", b"",
        b"multipart/form-data; boundary=\"XyZ", b"multipart/form-data; boundary=XyZ\"",
        b"multipart/form-data; boundary=XyZ ",
        b"multipart/form-data; boundary=" + b"a" * 71, b"multipart/form-data; boundary=--XyZ",
        b"multipart/x-form-data; boundary=XyZ",
        b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; boundary=XyZ",
    ):  # fmt: skip
        note = f"form of {route}: content type {kind[:70]!r}"
        yield Case(note, _sent(way, whole, kind=kind), "either" if kind.endswith(b" ") else "refused", cut=LATER)
    for kind in (
        b'multipart/form-data; boundary="XyZ"',
        b"Multipart/Form-Data; Boundary=XyZ",
        b"multipart/form-data;boundary=XyZ",
    ):
        yield Case(f"form of {route}: content type {kind!r}", _sent(way, whole, kind=kind))
    twice = _sent(way, whole, b"Content-Type: multipart/form-data; boundary=Abc")
    yield Case(f"form of {route}: two content types", twice, "refused")


def _transport(route: str, way: FormWay, whole: bytes) -> Iterator[Case]:
    lines = [HOST, AUTHORIZATION, b"Content-Type: " + _TYPE]
    start = {"target": way.target}
    forms: dict[str, bytes] = {
        "in chunks": head(*lines, CHUNKED, **start) + chunks(whole),
        "gzip": head(*lines, length(whole), b"Content-Encoding: gzip", **start) + whole,
        "both lengths": head(*lines, CHUNKED, length(whole), **start) + chunks(whole),
        "a short length": head(*lines, b"Content-Length: %d" % (len(whole) - 3), **start) + whole,
        "no length": head(*lines, **start) + whole,
        "no body": head(*lines, length(b""), **start),
    }
    for note, sent in forms.items():
        expect = "served" if note == "in chunks" else "refused"
        yield Case(f"form of {route}: {note}", sent, expect, cut=None if expect == "served" else LATER)  # type: ignore[arg-type]
    mark = b"&" if b"?" in way.target else b"?"
    for query in (b"model=mock-second", b"purpose=x", b"stream=true", b"key=x"):
        target = way.target + mark + query
        sent = head(*lines, length(whole), target=target) + whole
        yield Case(f"form of {route}: query {query!r}", sent, "refused", cut=LATER)
