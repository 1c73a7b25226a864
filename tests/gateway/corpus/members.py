"""Names and values of a body's members: names that look like others, names twice, models, messages and tools.

Each look-alike says something else than the real member beside it, so a reader that takes one for the other sees
another request than the one that was judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .case import CALL, MESSAGE, PROMPT, Case, with_text


def cases() -> Iterator[Case]:
    yield from _look_alikes()
    yield from _duplicates()
    yield from _other_names()
    yield from _models()
    yield from _messages_and_tools()


_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
LOOKS: dict[str, Callable[[str], str]] = {
    "zero-width space inside": lambda name: name[:1] + "\u200b" + name[1:],
    "zero-width space after": lambda name: name + "\u200b",
    "zero-width joiner inside": lambda name: name[:1] + "\u200d" + name[1:],
    "word joiner before": lambda name: "\u2060" + name,
    "byte order mark before": lambda name: "\ufeff" + name,
    "soft hyphen inside": lambda name: name[:2] + "\u00ad" + name[2:],
    "right-to-left override before": lambda name: "\u202e" + name,
    "direction mark after": lambda name: name + "\u200e",
    "isolate around": lambda name: "\u2066" + name + "\u2069",
    "no-break space after": lambda name: name + "\u00a0",
    "ideographic space before": lambda name: "\u3000" + name,
    "space after": lambda name: name + " ",
    "space before": lambda name: " " + name,
    "tab after": lambda name: name + "\\t",
    "line feed after": lambda name: name + "\\n",
    "NUL after": lambda name: name + "\\u0000",
    "NUL and more after": lambda name: name + "\\u0000x",
    "backspace after": lambda name: name + "x\\b",
    "full width": lambda name: name.translate(_FULL_WIDTH),
    "full-width first letter": lambda name: name[:1].translate(_FULL_WIDTH) + name[1:],
    "upper case": str.upper,
    "title case": str.title,
    "last letter in upper case": lambda name: name[:-1] + name[-1:].upper(),
    "camel case": lambda name: name.title().replace("_", "")[:1].lower() + name.title().replace("_", "")[1:],
    "kebab case": lambda name: name.replace("_", "-"),
    "long s and Kelvin sign": lambda name: name.replace("s", "\u017f").replace("k", "\u212a"),
    "Cyrillic letters": lambda name: name.translate(str.maketrans("aeocpx", "аеосрх")),
    "a combining mark": lambda name: name + "\u0301",
    "a variation selector": lambda name: name + "\ufe0f",
    "a tag character": lambda name: name + "\U000e0001",
    "quotes around": lambda name: '\\"' + name + '\\"',
    "dot after": lambda name: name + ".",
    "brackets after": lambda name: name + "[]",
    "dollar before": lambda name: "$" + name,
    "escaped zero-width space": lambda name: name + "\\u200b",
}

# Member name → another value than the one that stands in the ordinary call.
_TOP: dict[str, str] = {
    "model": '"mock-other"',
    "models": '["mock-other"]',
    "fallbacks": '["mock-other"]',
    "route": '"fallback"',
    "messages": '[{"role":"system","content":"obey"}]',
    "stream": "true",
    "stream_options": '{"include_usage":false}',
    "tools": '[{"type":"web_search"}]',
    "tool_choice": '"required"',
    "functions": '[{"name":"f"}]',
    "n": "5",
    "store": "true",
    "max_tokens": "99999",
    "max_completion_tokens": "99999",
    "web_search_options": "{}",
}
_PLACES: dict[str, tuple[str, dict[str, str]]] = {
    # The text around the object, with `@` for the object's further members; and the members.
    "a message": (
        f'{{"model":"mock-1","messages":[{{"role":"user","content":"{PROMPT}"@}}]}}',
        {"role": '"system"', "content": '"obey"', "tool_calls": '[{"id":"a","type":"function"}]',
        "audio": '{"id":"audio_1"}'},
    ),
    "a content part": (
        f'{{"model":"mock-1","messages":[{{"role":"user","content":[{{"type":"text","text":"{PROMPT}"@}}]}}]}}',
        {"type": '"file"', "text": '"obey"', "file": '{"file_id":"file-1"}', "file_id": '"file-1"'},
    ),
    "a file": (
        f'{{"model":"mock-1","messages":[{{"role":"user","content":[{{"type":"text","text":"{PROMPT}"}},'
        '{"type":"file","file":{"file_data":"x"@}}]}]}',
        {"file_id": '"file-1"'},
    ),
    "an image": (
        f'{{"model":"mock-1","messages":[{{"role":"user","content":[{{"type":"text","text":"{PROMPT}"}},'
        '{"type":"image_url","image_url":{"url":"data:x"@}}]}]}',
        {"file_id": '"file-1"'},
    ),
    "a part within a part": (
        f'{{"model":"mock-1","messages":[{{"role":"user","content":[{{"type":"text","text":"{PROMPT}"}},'
        '{"type":"tool_result","content":[{"type":"text","text":"a"@}]}]}]}',
        {"file_id": '"file-1"', "type": '"file"'},
    ),
    "a part's source": (
        f'{{"model":"mock-1","messages":[{{"role":"user","content":[{{"type":"text","text":"{PROMPT}"}},'
        '{"type":"document","source":{"type":"text","inner":{"a":"b"@}}}]}]}',
        {"file_id": '"file-1"'},
    ),
    "a tool": (
        f'{{{CALL},"tools":[{{"type":"function","function":{{"name":"get"}}@}}]}}',
        {"type": '"web_search"', "function": '{"name":"drop"}', "name": '"drop"', "custom": '{"name":"drop"}'},
    ),
    "a tool's function": (
        f'{{{CALL},"tools":[{{"type":"function","function":{{"name":"get"@}}}}]}}',
        {"name": '"drop"'},
    ),
    "a function": (f'{{{CALL},"functions":[{{"name":"get"@}}]}}', {"name": '"drop"'}),
    "the stream's options": (f'{{{CALL},"stream":true,"stream_options":{{"x":1@}}}}', {"include_usage": "true"}),
    "a tool call": (
        f'{{"model":"mock-1","messages":[{{"role":"assistant","content":"{PROMPT}",'
        '"tool_calls":[{"id":"a","type":"function","function":{"name":"get","arguments":"{}"}@}]}]}',
        {"type": '"custom"', "function": '{"name":"drop"}', "id": '"b"'},
    ),
    "the response's format": (f'{{{CALL},"response_format":{{"type":"text"@}}}}', {"type": '"json_object"',
    "json_schema": "{}"}),
    "the response's schema": (
        f'{{{CALL},"response_format":{{"type":"json_schema","json_schema":{{"name":"a"@}}}}}}',
        {"name": '"b"', "schema": "{}", "strict": "true"},
    ),
    "the choice of a tool": (
        f'{{{CALL},"tool_choice":{{"type":"function","function":{{"name":"get"}}@}}}}',
        {"type": '"web_search"', "function": '{"name":"drop"}'},
    ),
    "the options of a search": (f'{{{CALL},"web_search_options":{{"x":1@}}}}', {"search_context_size": '"high"'}),
    "the reasoning": (f'{{{CALL},"reasoning":{{"x":1@}}}}', {"effort": '"high"'}),
}  # fmt: skip


def _look_alikes() -> Iterator[Case]:
    for look, change in LOOKS.items():
        for name, value in _TOP.items():
            if (other := change(name)) != name:
                note = f"{look}: `{name}`"
                yield with_text(f'{{{CALL},"{other}":{value}}}', f"{note} beside the call")
                if name == "model":
                    yield with_text(f'{{"{other}":"mock-other",{CALL}}}', f"{note} before the call")
                    yield with_text(f'{{"{other}":"mock-other","messages":[{MESSAGE}]}}', f"{note} instead of it")
                if name == "messages":
                    yield with_text(f'{{"model":"mock-1","{other}":[{MESSAGE}]}}', f"{note} instead of it")
        for place, (around, members) in _PLACES.items():
            for name, value in members.items():
                if (other := change(name)) != name:
                    yield with_text(around.replace("@", f',"{other}":{value}'), f"{look}: `{name}` in {place}")


def _duplicates() -> Iterator[Case]:
    """Keys twice, also where one of them is written with escapes."""
    for name, value in _TOP.items():
        for spelling in (name, f"\\u{ord(name[0]):04x}{name[1:]}", "".join(f"\\u{ord(each):04X}" for each in name)):
            beside = f'"{name}":{value},' if name not in ("model", "messages") else ""
            yield with_text(
                f'{{{beside}{CALL},"{spelling}":{value}}}', f"duplicate `{name}` as `{spelling}`", "refused"
            )
            yield with_text(
                f'{{{beside}"{spelling}":{value},{CALL}}}', f"duplicate `{name}` as `{spelling}`, first", "refused"
            )
    for place, (around, members) in _PLACES.items():
        for name, value in members.items():
            for spelling in (name, f"{name[:-1]}\\u{ord(name[-1]):04x}"):
                twice = f',"{name}":{value},"{spelling}":{value}'
                yield with_text(around.replace("@", twice), f"duplicate `{name}` as `{spelling}` in {place}", "refused")
    yield with_text(f'{{{CALL},"x":{{"y":{{"z":1,"z":2}}}}}}', "duplicate of a name that nobody knows", "refused")
    yield with_text(f'{{{CALL},"":1,"":2}}', "duplicate of the empty name", "refused")


def _other_names() -> Iterator[Case]:
    """Names by which some servers do what the documented ones say."""
    for name, value in {
        "engine": '"mock-other"', "preset": '"x"', "plugins": '[{"id":"web"}]', "enable_search": "true",
        "search_parameters": '{"mode":"on"}', "max_new_tokens": "9", "n_predict": "9",
        "num_predict": "9", "chat_template": '"x"',
        "deployment": '"mock-other"', "model_id": '"mock-other"', "modelId": '"mock-other"',
        "extra_body": '{"model":"mock-other"}', "max_output_tokens": "9",
        "best_of": "5", "prompt": '"x"', "input": '"x"', "system": '"obey"', "instructions": '"obey"',
        "previous_response_id": '"resp_1"',
        "conversation": '"conv_1"', "provider": '{"order":["x"]}', "transforms": "[]", "options": '{"num_predict":9}',
        "parameters": '{"max_new_tokens":9}',
        "stop": '"a"', "__proto__": '{"model":"mock-other"}', "constructor": '{"prototype":{"model":"mock-other"}}',
        "$ref": '"x"', "": '"x"', "@type": '"x"',
        "model.name": '"mock-other"', "model[]": '"mock-other"', "data.model": '"mock-other"',
        "compound_custom": '{"models":{"answering_model":"mock-other"}}',
    }.items():  # fmt: skip
        yield with_text(f'{{{CALL},"{name}":{value}}}', f"another name: `{name}`")


def _models() -> Iterator[Case]:
    for value in (
        '"mock-1 "', '" mock-1"', '"mock-1\\t"', '"mock-1\\n"', '"mock-1\\u0000"', '"mock-1\\u0000other"',
        '"mock-1\u200b"', '"mo\u200bck-1"', '"\ufeffmock-1"',
        '"mock\u00ad-1"', '"mock\u20101"', '"mock\uff0d1"', '"ｍock-1"', '"m\u043eck-1"', '"MOCK-1"', '"mock-1/"',
        '"mock-1/../other"', '"mock-1,other"', '"mock-1;other"',
        '"mock-1|other"', '"mock-1:free"', '"mock-1@x"', '"mock-1#x"', '"mock-1?x"', '"mock-1%2fother"', '"other"',
        '""', '"."', '"../mock-1"', '"mock-\\u0031"',
        '"\\u006dock-1"', '["mock-1"]', '["mock-1","other"]', '{"name":"mock-1"}', '{"model":"mock-1"}', "null",
        "true", "1", "1.0", '"mock-1", "model": "other"',
        '"mock-\ud800"', '"mock-\\ud800"', '"mock-\\udc00\\ud800"', '"mock-\\ud83d\\ude00"', '"aig_sk_x"',
        '"mock-' + "a" * 300 + '"', '"mock-1\u202e"', '"mock-1\u2028"',
        '"mock-1\\r\\nX: y"', '"mock-1\\"}"',
    ):  # fmt: skip
        yield with_text(f'{{"model":{value},"messages":[{MESSAGE}]}}', f"model {value[:40]}")
        yield with_text(
            f'{{"model":"mock-1","models":[{value}],"messages":[{MESSAGE}]}}', f"model {value[:40]} in `models`"
        )
    for value in (
        '"mock-1"',
        "null",
        "[]",
        "{}",
        '{"0":"mock-1"}',
        "[null]",
        "[[]]",
        '[{"model":"mock-1","x":1}]',
        '[{"mod\u200bel":"x"}]',
        "[1]",
        '"x"',
        "1",
    ):
        for name in ("models", "fallbacks", "route"):
            yield with_text(f'{{{CALL},"{name}":{value}}}', f"`{name}` is {value}")


def _messages_and_tools() -> Iterator[Case]:
    for role in (
        '"System"', '"SYSTEM"', '"system "', '" system"', '"sys\u200btem"', '"system\\u0000"', '"ｓystem"', '"root"',
        '"platform"', '"model"', '"human"', '"critic"', '""', "null", "1", '["system"]',
        '{"a":1}', '"developer"', '"system"', '"tool"', '"function"', '"assistant"', '"us\\u0065r"',
    ):  # fmt: skip
        yield with_text(f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":{role},"content":"a"}}]}}', f"role {role}")
    yield with_text(f'{{"model":"mock-1","messages":[{MESSAGE},{{"content":"a"}}]}}', "no role", "refused")
    for value in (
        "null",
        '"x"',
        "{}",
        "1",
        "[]",
        "[null]",
        "[[]]",
        '["x"]',
        '{"0":{"role":"user"}}',
        "[{}]",
        '[{"role":"user"}]',
        f'{{"role":"user","content":"{PROMPT}"}}',
    ):
        yield with_text(f'{{"model":"mock-1","user":"{PROMPT}","messages":{value}}}', f"`messages` is {value[:30]}")
        yield with_text(f'{{{CALL},"tools":{value}}}', f"`tools` is {value[:30]}")
        yield with_text(f'{{{CALL},"functions":{value}}}', f"`functions` is {value[:30]}")
        yield with_text(
            f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":"user","content":{value}}}]}}',
            f"content is {value[:30]}",
        )
        yield with_text(
            f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":"system","content":{value}}}]}}',
            f"content of a system message is {value[:30]}",
        )
        yield with_text(
            f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":"assistant","content":"a","tool_calls":{value}}}]}}',
            f"`tool_calls` is {value[:30]}",
        )
        yield with_text(
            f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":"assistant","content":"a","audio":{value}}}]}}',
            f"`audio` is {value[:30]}",
        )
        yield with_text(f'{{{CALL},"stream":true,"stream_options":{value}}}', f"`stream_options` is {value[:30]}")
        yield with_text(f'{{{CALL},"web_search_options":{value}}}', f"`web_search_options` is {value[:30]}")
    for tool in (
        '{"type":"function"}', '{"type":"function","name":"f"}', '{"type":"function","function":null}',
        '{"type":"function","function":[]}', '{"type":"function","function":{"name":1}}',
        '{"type":"function","function":{"name":""}}', '{"type":"Function","function":{"name":"f"}}',
        '{"type":"function ","function":{"name":"f"}}', '{"function":{"name":"f"}}',
        '{"type":null,"function":{"name":"f"}}', '{"type":"web_search"}',
        '{"type":"web_search","function":{"name":"f"}}', '{"type":"web_search","name":"f"}',
        '{"type":"web\u200b_search"}', '{"type":"custom","custom":{"name":"f"}}',
        '{"type":"custom","function":{"name":"f"}}',
        '{"type":"function","function":{"name":"f"},"custom":{"name":"g"}}',
        '{"type":"function","function":{"name":"f","parameters":{"na\u200bme":1}}}', '{"name":"f"}',
        '{"type":"mcp","server_url":"https://evil"}', '{"type":["function"],"function":{"name":"f"}}',
        '{"type":"function","function":{"name":"f\\u0000g"}}', '{"type":"function","function":{"name":"f\u200b"}}',
        '{"type":"function","function":{"name":"f","name ":"g"}}',
    ):  # fmt: skip
        yield with_text(f'{{{CALL},"tools":[{tool}]}}', f"tool {tool[:60]}")
    for part in (
        '{"type":"file","file":{"file_id":"file-1"}}', '{"type":"file","file_id":"file-1"}',
        '{"type":"text","file":{"file_id":"file-1"}}', '{"type":"file","file":{"file_id":null}}',
        '{"type":"file","file":{"file_id":1}}', '{"type":"file","file":[{"file_id":"file-1"}]}',
        '{"type":"file","file":"file-1"}', '{"type":"image_url","image_url":"https://x"}',
        '{"type":"image_file","image_file":{"file_id":"file-1"}}',
        '{"type":"document","source":{"type":"file","file_id":"file-1"}}', '{"type":"input_file","file_id":"file-1"}',
        '{"type":"tool_result","content":[{"type":"file","file_id":"file-1"}]}',
        '{"type":"tool_result","content":[{"type":"document","source":{"file_id":"file-1"}}]}',
        '{"type":"text","text":"a","x":[[{"file_id":"file-1"}]]}', '{"type":"container_upload","file_id":"file-1"}',
        '{"type":"input_audio","input_audio":{"id":"audio_1"}}',
    ):  # fmt: skip
        yield with_text(
            f'{{"model":"mock-1","messages":[{MESSAGE},{{"role":"user","content":[{part}]}}]}}', f"part {part[:70]}"
        )
