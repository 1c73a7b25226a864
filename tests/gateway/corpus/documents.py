"""Ways to write a body: numbers, strings, encodings, and JSON that is nearly JSON."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

from .case import AUTHORIZATION, BODY, CALL, HOST, MARK, MESSAGE, PROMPT, Case, head, length, post, with_text


def cases() -> Iterator[Case]:
    yield from _numbers()
    yield from _strings()
    yield from _encodings()
    yield from _nearly_json()


_FORMS = (
    "1e400", "-1e400", "1e-400", "-0", "0", "0.0", "-0.0", "NaN", "-NaN", "Infinity", "-Infinity", "1e2", "1E2",
    "1.0", "10.5", "9223372036854775807", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1" + "0" * 400, "0x10", "010", "00",
    "+1", "1_000", ".5", "5.", "1e", "1e+", "--1", "-", "１",
    "1n", "1f", "1L", "1,0", "1 0", "1/**/", '"5"', '"NaN"', "true", "null", "[]", "[5]", "{}", '{"$numberLong":"5"}',
    "undefined", "0o17", "0b1", "1e1000000", "\u0661",
)  # fmt: skip


def _numbers() -> Iterator[Case]:
    for name in ("max_tokens", "max_completion_tokens", "n", "seed", "temperature"):
        for form in _FORMS:
            yield with_text(f'{{{CALL},"{name}":{form}}}', f"`{name}` is {form[:40]}")
    for form in ("1", "0", '"true"', '"false"', "null", "[]", "{}", "TRUE", "True", "yes", "1.0"):
        for name in ("stream", "store"):
            yield with_text(f'{{{CALL},"{name}":{form}}}', f"`{name}` is {form}")
        yield with_text(
            f'{{{CALL},"stream":true,"stream_options":{{"include_usage":{form}}}}}', f"`include_usage` is {form}"
        )
    for first, second in ((5, 6), (6, 5), (0, 5), (5, 5)):
        yield with_text(
            f'{{{CALL},"max_tokens":{first},"max_completion_tokens":{second}}}', f"two limits, {first} and {second}"
        )


def _strings() -> Iterator[Case]:
    halves = (
        "\\ud800",
        "\\udfff",
        "\\udc00\\ud800",
        "\\ud800\\u0041",
        "\\uD800x",
        "\\ud83d",
        "\\ud83d\\ud83d\\ude00",
        "a\\udc00",
    )
    wholes = (
        "\\ud83d\\ude00",
        "\\u0000",
        "\\u001f",
        "\\u007f",
        "\\ufffe",
        "\\uffff",
        "\\u2028",
        "\\/",
        "\\b\\f\\n\\r\\t",
    )
    wrong = (
        "\\x41",
        "\\u41",
        "\\u{41}",
        "\\U00000041",
        "\\101",
        "\\'",
        "\\0",
        "\\",
        "\\u00g0",
        "\\u-001",
        "\\ud800\\",
        "\\v",
        "\\\n",
    )
    places = {
        "a prompt": f'{{"model":"mock-1","messages":[{{"role":"user","content":"{PROMPT}@"}}]}}',
        "a system prompt": f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":"system","content":"a@"}}]}}',
        "a member's name": f'{{{CALL},"a@":1}}',
        "the name of a function": f'{{{CALL},"tools":[{{"type":"function","function":{{"name":"a@"}}}}]}}',
        "metadata": f'{{{CALL},"metadata":{{"a@":"b@"}}}}',
        "a role": f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":"user@","content":"a"}}]}}',
    }
    for place, around in places.items():
        for text in (*halves, *wrong):
            yield with_text(around.replace("@", text), f"{text!r} in {place}", "refused")
        for text in wholes:
            yield with_text(around.replace("@", text), f"{text!r} in {place}")
    for number in (*range(0x20), 0x7F):
        yield with_text(
            f'{{"model":"mock-1","messages":[{{"role":"user","content":"{PROMPT}{chr(number)}"}}]}}',
            f"raw byte 0x{number:02x} in a prompt",
        )
        yield with_text(f"{{{CALL}{chr(number)}}}", f"raw byte 0x{number:02x} between tokens")
    for raw in (
        b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xbf",
        b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\xfe", b"\xe4", b"\x1b$B", b"\xc0\xaf",
    ):  # fmt: skip
        for note, body in (
            ("a prompt", BODY.replace(MARK, MARK + raw)),
            ("a name", BODY[:-1] + b',"a%s":1}' % raw),
            ("the model", BODY.replace(b"mock-1", b"mock-1" + raw)),
        ):
            yield Case(f"bytes {raw!r} in {note}", post(body), "refused")


def _encodings() -> Iterator[Case]:
    text = BODY.decode()
    names = (
        "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-7", "utf-8-sig", "cp037",
        "cp500", "cp1140", "latin-1", "shift_jis", "iso2022_jp", "gb18030", "hz",
    )  # fmt: skip
    for name in names:
        body = text.encode(name)
        if name == "utf-7":
            body = body.replace(b'"model"', b'"+AG0-odel"')
        same = body == BODY
        yield Case(f"body in {name}", post(body), "served" if same else "refused")
        typed = (
            head(HOST, AUTHORIZATION, b"Content-Type: application/json; charset=" + name.encode(), length(body)) + body
        )
        yield Case(f"body in {name}, labelled so", typed, "refused")
    for mark in (
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\x00",
        b"\x00\x00\xfe\xff",
        b"+/v8-",
        b"\xef\xbb",
        b"\x0e\xfe\xff",
    ):
        yield Case(f"{mark!r} before the body", post(mark + BODY), "refused")
        yield Case(f"{mark!r} after the body", post(BODY + mark), "refused")
    packed: dict[str, bytes] = {
        "gzip": gzip.compress(BODY, mtime=0),
        "deflate": zlib.compress(BODY),
        "br": b"\x0b\x02\x80" + BODY,
    }
    for name, body in packed.items():
        yield Case(f"body in {name}", post(body), "refused")
        yield Case(f"body in {name}, labelled so", post(body, b"Content-Encoding: " + name.encode()), "refused")
        yield Case(f"plain body labelled {name}", post(BODY, b"Content-Encoding: " + name.encode()), "refused")
    form = b"model=mock-1&messages=%s" % MARK
    yield Case(
        "a form",
        head(HOST, AUTHORIZATION, b"Content-Type: application/x-www-form-urlencoded", length(form)) + form,
        "refused",
    )
    yield Case("a form that says it is JSON", post(form), "refused")
    parts = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nmock-1\r\n--x--\r\n' + MARK
    yield Case("a multipart body that says it is JSON", post(parts), "refused")


def _nearly_json() -> Iterator[Case]:
    text = BODY.decode()
    for note, body in {
        "nothing": "", "a space": " ", "null": "null", "true": "true", "a number": "1", "a string": f'"{PROMPT}"',
        "a list": "[]", "a list of calls": f"[{text}]",
        "an empty object": "{}", "two documents": text + text, "two lines": f"{text}\n{text}",
        "a document and a comma": text + ",", "a bracket too many": text + "}",
        "a bracket too few": text[:-1], "a comma at the end": text[:-1] + ",}",
        "a comma at the end of a list": text.replace("}]", "},]"), "a comma at the start": "{," + text[1:],
        "a line comment": text[:-1] + '//"x":1\n}', "a block comment": text[:-1] + '/*,"model":"mock-other"*/}',
        "a hash comment": text[:-1] + "#\n}",
        "single quotes": text.replace('"', "'"), "names without quotes": text.replace('"model"', "model"),
        "curly quotes": text.replace('"model"', "“model”"),
        "a semicolon": text.replace(",", ";", 1), "an equals sign": text.replace(":", "=", 1),
        "two colons": text.replace(":", "::", 1), "no comma": text.replace(",", " ", 1),
        "a guard against hijacking": ")]}',\n" + text, "a callback": f"x({text})", "a variable": f"x={text}",
        "a NUL after it": text + "\x00", "a NUL and more": f"{text}\x00{text}",
        "a form feed": text[:-1] + "\x0c}", "a vertical tab": text[:-1] + "\x0b}",
        "a no-break space": text[:-1] + "\u00a0}", "a line separator": text[:-1] + "\u2028}",
        "a next line": text[:-1] + "\x85}", "a byte order mark inside": text[:-1] + "\ufeff}",
        "an ideographic space": text[:-1] + "\u3000}", "an octal number": text[:-1] + ',"x":017}',
        "a number as name": text[:-1] + ",1:2}", "null as name": text[:-1] + ",null:2}",
        "a value without name": text[:-1] + ",2}", "a name without value": text[:-1] + ',"x"}',
        "an elided value": text[:-1] + ',"x":}', "an elision": text[:-1] + ',"x":[1,,2]}',
        "YAML": f"model: mock-1\nmessages:\n- role: user\n  content: {PROMPT}\n",
        "a multi-line string": text.replace(PROMPT, PROMPT + "\n"), "joined strings": text.replace('"mock-1"',
        '"mock" "-1"'), "added strings": text.replace('"mock-1"', '"mock"+"-1"'),
        "XML": f"<model>mock-1</model>{PROMPT}", "65 levels": text[:-1] + ',"x":' + "[" * 65 + "]" * 65 + "}",
        "an upper case literal": text[:-1] + ',"x":NULL}',
    }.items():  # fmt: skip
        yield with_text(body, f"nearly JSON: {note}", "refused")
    for note, body in {
        "spaces": json.dumps(json.loads(text), indent=4), "line ends": text.replace(",", ",\r\n"),
        "spaces around": f" \t\r\n{text}\n ", "60 levels": text[:-1] + ',"x":' + "[" * 59 + "]" * 59 + "}",
        "escapes everywhere": text.replace('"mock-1"', '"' + "".join(f"\\u{ord(each):04x}" for each in "mock-1") + '"'),
        "an escaped name": text.replace('"model"', '"\\u006dodel"'), "escaped slashes": text[:-1] + ',"x":"a\\/b"}',
    }.items():  # fmt: skip
        yield with_text(body, f"JSON with {note}", "served")
