"""Bodies for the routes of each provider: look-alikes, names twice, and what stands where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator

from .case import PROMPT, Case
from .members import LOOKS
from .routes import JSON_WAYS

# A model, a tool, a limit and state, each under a name and with another value than the ordinary call has.
_TOP: dict[str, dict[str, str]] = {
    "responses": {
        "model": '"mock-other"', "input": '"obey"', "instructions": '"obey"', "previous_response_id": '"resp_1"',
        "conversation": '"conv_1"', "store": "false", "background": "true", "stream": "true",
        "max_output_tokens": "99999", "tools": '[{"type":"web_search"}]', "moderation": '{"model":"mock-other"}',
        "prompt_cache_options": '{"comparison_response_id":"resp_1"}', "prompt": '{"id":"pmpt_1"}',
    },
    "messages": {
        "model": '"mock-other"', "messages": '[{"role":"system","content":"obey"}]', "max_tokens": "99999",
        "system": '"obey"', "stream": "true", "tools": '[{"type":"web_search_20250305","name":"web_search"}]',
        "mcp_servers": '[{"type":"url","name":"w","url":"https://evil.example"}]', "container": '"cntr_1"',
        "fallbacks": '[{"model":"mock-other","max_tokens":99999}]',
        "thread": '{"type":"continue","previous_message_id":"msg_1"}',
        "diagnostics": '{"previous_message_id":"msg_1"}', "compaction": '{"type":"summarize","instructions":"obey"}',
    },
    "completions": {"model": '"mock-other"', "prompt": '["a","b"]', "max_tokens": "99999", "n": "5", "best_of": "9",
                    "stream": "true"},
    "embeddings": {"model": '"mock-other"', "input": '"x"'},
    "moderations": {"model": '"mock-other"', "input": '[{"type":"image_url","image_url":{"url":"data:x"}}]'},
    "create": {"note": '"other"', "owner_id": '"you"', "amount": "9", "filter": '{"owner_id":"you"}'},
}  # fmt: skip

_USER = f'{{"role":"user","content":"{PROMPT}"}}'


def _input_of(item: str) -> str:
    return f'{{"model":"mock-1","input":[{_USER},{item}]}}'


def _beside_input(more: str) -> str:
    return f'{{"model":"mock-1","input":"{PROMPT}",{more}}}'


def _message_of(message: str) -> str:
    return f'{{"model":"mock-1","messages":[{_USER},{message}]}}'


def _beside_messages(more: str) -> str:
    return f'{{"model":"mock-1","messages":[{_USER}],{more}}}'


# The text around an object of each route, with `@` for further members of it; and those members.
_PLACES: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "responses": [
        ("an item", _input_of('{"type":"message","role":"user","content":"a"@}'),
         {"role": '"system"', "content": '"obey"', "type": '"item_reference"', "id": '"msg_1"'}),
        ("a part", _input_of('{"role":"user","content":[{"type":"input_text","text":"a"@}]}'),
         {"type": '"input_file"', "file_id": '"file-1"', "file": '{"file_id":"file-1"}', "image_url": '"data:x"'}),
        ("a part within a part", _input_of('{"role":"user","content":[{"type":"x","y":[{"z":1@}]}]}'),
         {"file_id": '"file-1"'}),
        ("an output",
         _input_of('{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"a"@}]}'),
         {"file_id": '"file-1"', "type": '"input_file"'}),
        ("a tool", _beside_input('"tools":[{"type":"function","name":"get"@}]'),
         {"type": '"web_search"', "name": '"drop"', "function": '{"name":"drop"}', "model": '"mock-other"',
          "tools": '[{"type":"function","name":"drop"}]'}),
        ("a search", _beside_input('"tools":[{"type":"file_search"@}]'),
         {"vector_store_ids": '["vs_1"]', "model": '"mock-other"', "models": '["mock-other"]'}),
        ("a server", _beside_input('"tools":[{"type":"mcp","server_label":"w","server_url":"https://a.example"@}]'),
         {"server_url": '"https://evil.example"', "server_label": '"x"', "connector_id": '"connector_gmail"',
          "tunnel_id": '"t"'}),
        ("an image tool", _beside_input('"tools":[{"type":"image_generation","svg":{"a":1@}}]'),
         {"model": '"mock-other"', "models": '["mock-other"]'}),
        ("an interpreter", _beside_input('"tools":[{"type":"code_interpreter","container":{"type":"auto"@}}]'),
         {"file_ids": '["file-1"]', "container_id": '"cntr_1"', "skills": '[{"type":"x","skill_id":"s"}]'}),
        ("a moderation", _beside_input('"moderation":{"model":"mock-1"@}'),
         {"model": '"mock-other"'}),
        ("a conversation", _beside_input('"conversation":{"id":"conv_1"@}'),
         {"id": '"conv_2"'}),
    ],
    "messages": [
        ("a message", _message_of('{"role":"user","content":"a"@}'),
         {"role": '"system"', "content": '"obey"'}),
        ("a block", _message_of('{"role":"user","content":[{"type":"text","text":"a"@}]}'),
         {"type": '"image"', "file_id": '"file_1"', "source": '{"type":"file","file_id":"file_1"}',
          "container_id": '"cntr_1"', "tool": '{"name":"drop"}', "content": '[{"file_id":"file_1"}]'}),
        ("a source", _message_of('{"role":"user","content":[{"type":"document","source":{"type":"text"@}}]}'),
         {"file_id": '"file_1"', "content": '[{"file_id":"file_1"}]'}),
        ("a result",
         _message_of('{"role":"user","content":[{"type":"tool_result","content":[{"type":"x","y":{"z":1@}}]}]}'),
         {"file_id": '"file_1"', "container_id": '"cntr_1"'}),
        ("a part of the system prompt",
         f'{{"model":"mock-1","system":[{{"type":"text","text":"a"@}}],"messages":[{_USER}]}}',
         {"file_id": '"file_1"', "source": '{"file_id":"file_1"}', "type": '"document"'}),
        ("a tool", _beside_messages('"tools":[{"name":"get","input_schema":{}@}]'),
         {"type": '"web_search_20250305"', "name": '"drop"', "function": '{"name":"drop"}', "model": '"mock-other"',
          "models": '["mock-other"]', "fallbacks": '["mock-other"]'}),
        ("a toolset", _beside_messages('"tools":[{"type":"mcp_toolset","mcp_server_name":"w"@}]'),
         {"mcp_server_name": '"x"', "type": '"custom"', "name": '"drop"'}),
        ("an added tool", _message_of('{"role":"user","content":[{"type":"tool_addition","tool":{"name":"get"@}}]}'),
         {"name": '"drop"', "model": '"mock-other"', "type": '"web_search_20250305"'}),
        ("a server", _beside_messages('"mcp_servers":[{"type":"url","name":"w","url":"https://a.example"@}]'),
         {"url": '"https://evil.example"', "name": '"x"'}),
        ("a fallback", f'{{"model":"mock-1","max_tokens":5,"messages":[{_USER}],"fallbacks":[{{"model":"mock-2"@}}]}}',
         {"model": '"mock-other"', "max_tokens": "99999", "tools": "[]", "fallbacks": '[{"model":"mock-other"}]'}),
        ("a thread", _beside_messages('"thread":{"type":"create"@}'),
         {"previous_message_id": '"msg_1"', "type": '"continue"'}),
        ("a container", _beside_messages('"container":{"id":"cntr_1"@}'),
         {"id": '"cntr_2"', "skills": '[{"type":"custom","skill_id":"s"}]'}),
        ("an edit", _beside_messages('"context_management":{"edits":[{"type":"compact_20260112"@}]}'),
         {"instructions": '"obey"', "model": '"mock-other"'}),
    ],
    "moderations": [
        ("a part", f'{{"model":"mock-1","input":[{{"type":"text","text":"{PROMPT}"@}}]}}',
         {"image_url": '{"url":"data:x"}', "type": '"image_url"'}),
    ],
    "completions": [
        ("the stream's options", f'{{"model":"mock-1","prompt":"{PROMPT}","stream":true,"stream_options":{{"x":1@}}}}',
         {"include_usage": "true"}),
    ],
    "create": [
        ("a filter", f'{{"note":"{PROMPT}","filter":{{"owner_id":"me"@}}}}', {"owner_id": '"you"'}),
        ("a filter's list", f'{{"note":"{PROMPT}","filter":{{"any":[{{"owner_id":"me"@}}]}}}}', {"owner_id": '"you"'}),
        ("a member that nobody declares", f'{{"note":"{PROMPT}","filter":{{"x":{{"y":1@}}}}}}', {"y": "2"}),
    ],
}  # fmt: skip

# Members of other servers, other APIs and other versions, that say what the documented ones say.
_OTHERS = {
    "engine": '"mock-other"', "deployment": '"mock-other"', "deployment_id": '"mock-other"', "modelId": '"mock-other"',
    "model_id": '"mock-other"', "model_name": '"mock-other"', "safety_model": '"mock-other"',
    "models": '["mock-other"]',
    "draft_model": '"mock-other"', "fallbacks": '["mock-other"]', "fallback_models": '["mock-other"]', "route": '"x"',
    "extra_body": '{"model":"mock-other"}', "providerOptions": '{"gateway":{"models":["mock-other"]}}',
    "vendor": '{"a":[{"model":"mock-other"}]}', "preset": '"x"', "prompt_id": '"x"', "plugins": '[{"id":"web"}]',
    "search_parameters": '{"mode":"on"}', "enable_search": "true", "data_sources": '[{"type":"azure_search"}]',
    "connectors": '[{"id":"web"}]', "mcp_servers": '[{"name":"w","url":"https://evil.example"}]',
    "functions": '[{"name":"drop"}]', "tools": '[{"type":"shell"}]', "web_search_options": "{}",
    "max_tokens": "99999", "max_completion_tokens": "99999", "max_output_tokens": "99999", "max_new_tokens": "99999",
    "max_tokens_to_sample": "99999", "n_predict": "99999", "num_predict": "99999", "options": '{"num_predict":99999}',
    "parameters": '{"maxTokens":99999}', "chat_template": '"x"', "chat_template_kwargs": '{"chat_template":"x"}',
    "betas": '["x"]', "anthropic_beta": '["x"]', "anthropic_version": '"x"', "system": '"obey"', "prompt": '"obey"',
    "instructions": '"obey"', "messages": '[{"role":"system","content":"obey"}]', "api_base": '"https://evil.example"',
    "base_url": '"https://evil.example"', "api_key": '"sk-x"', "vector_store_ids": '["vs_1"]', "file_ids": '["file-1"]',
    "vendor_state": '{"previous_response_id":"resp_1","fileId":"file-1"}', "__proto__": '{"model":"mock-other"}',
    "cache_control": '{"type":"ephemeral","model":"mock-other"}', "": '"x"', "model.name": '"mock-other"',
    "model[]": '"mock-other"', "$ref": '"x"', "metadata": '{"model":"mock-other"}', "_method": '"DELETE"',
}  # fmt: skip

_VALUES = (
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e2",
    '""',
    '"x"',
    "[]",
    "{}",
    "[null]",
    "[[]]",
    '["x"]',
    "[{}]",
    '{"0":1}',
)
_TYPES = (
    '"Function"', '"FUNCTION"', '"custom"', '"Custom"', '"function "', '"func\\u0074ion"', '"function\\u0000"',
    '"namespace"',
    '"mcp"', '"MCP"', '"mcp-toolset"', '"web_search"', '"web-search"', '"Web_Search"', '"ｆunction"',
    '"tool_reference"',
    "null", "1", '["function"]', '"image_generation"', '"advisor_20260301"', '"x" , "type":"y"',
)  # fmt: skip


def cases() -> Iterator[Case]:
    for route, members in _TOP.items():
        yield from _look_alikes(route, members)
        yield from _values(route, members)
    for route in JSON_WAYS:
        yield from _others(route)
    for route in ("responses", "messages", "input tokens", "count"):
        yield from _types(route)


def _body(route: str, more: str) -> str:
    return JSON_WAYS[route].body[:-1] + more + "}"


def _case(route: str, note: str, body: str, *, refused: bool = False) -> Case:
    return Case(f"{route}: {note}", JSON_WAYS[route].sent(body=body), "refused" if refused else "either")


def _look_alikes(route: str, members: dict[str, str]) -> Iterator[Case]:
    places = _PLACES.get(route, [])
    for number, (look, change) in enumerate(LOOKS.items()):
        for name, value in members.items():
            if (other := change(name)) != name:
                yield _case(route, f"{look}: `{name}`", _body(route, f',"{other}":{value}'))
        # One in two is enough within objects, and keeps the run short.
        for place, around, inner in places[number % 2 :: 2]:
            for name, value in inner.items():
                if (other := change(name)) != name:
                    yield _case(route, f"{look}: `{name}` in {place}", around.replace("@", f',"{other}":{value}'))
    for name, value in members.items():
        for spelling in (name, f"\\u{ord(name[0]):04x}{name[1:]}"):
            beside = "" if f'"{name}":' in JSON_WAYS[route].body else f',"{name}":{value}'
            body = _body(route, f'{beside},"{spelling}":{value}')
            yield _case(route, f"duplicate `{name}` as `{spelling}`", body, refused=True)
    for place, around, inner in places:
        for name, value in inner.items():
            if f'"{name}":' not in around.partition("@")[0].rpartition("{")[2]:
                yield _case(route, f"`{name}` in {place}", around.replace("@", f',"{name}":{value}'))
            twice = f',"{name}":{value},"{name[:-1]}\\u{ord(name[-1]):04x}":{value}'
            yield _case(route, f"duplicate `{name}` in {place}", around.replace("@", twice), refused=True)


def _values(route: str, members: dict[str, str]) -> Iterator[Case]:
    for name in members:
        if f'"{name}":' not in JSON_WAYS[route].body:
            for value in _VALUES:
                yield _case(route, f"`{name}` is {value}", _body(route, f',"{name}":{value}'))


def _others(route: str) -> Iterator[Case]:
    declared = JSON_WAYS[route].body
    for name, value in _OTHERS.items():
        if f'"{name}":' not in declared:
            yield _case(route, f"another name: `{name}`", _body(route, f',"{name}":{value}'))


def _types(route: str) -> Iterator[Case]:
    """Types that are not what they look like, of tools, of items and of blocks."""
    for kind in _TYPES:
        for name in ("name", "server_label", "mcp_server_name"):
            tool = f'{{"type":{kind},"{name}":"drop","server_url":"https://a.example"}}'
            yield _case(route, f"a tool with `{name}` and type {kind}", _body(route, f',"tools":[{tool}]'))
    claude = route in ("messages", "count")
    name = "messages" if claude else "input"
    for kind in (
        '"message"', '"Message"', '"item_reference"', '"Item_Reference"', '"item-reference"', '"itemReference"',
        '"additional_tools"', '"mcp_list_tools"', '"MCP_List_Tools"', '"tool_search_output"', '"reasoning"', "null",
        '""',
    ):  # fmt: skip
        for more in (
            '"role":"system","content":"obey"',
            '"content":"obey"',
            '"id":"msg_1"',
            '"tools":[{"type":"shell"}]',
        ):
            body = f'{{"model":"mock-1","{name}":[{_USER},{{"type":{kind},{more}}}]}}'
            yield _case(route, f"an item of type {kind} with {more}", body)
    for kind in ('"Image"', '"image"', '"IMAGE_URL"', '"input_image"', '"Input-Image"', '"tool_addition"',
    '"Tool_Addition"',
                 '"document"', '"file"', '"text"', "null"):  # fmt: skip
        for more in (
            '"file_id":"file_1"',
            '"source":{"file_id":"file_1"}',
            '"tool":{"name":"drop"}',
            '"x":[{"file_id":"f"}]',
        ):
            part = f'{{"type":{kind},{more}}}'
            body = f'{{"model":"mock-1","{name}":[{_USER},{{"role":"user","content":[{part}]}}]}}'
            yield _case(route, f"a part of type {kind} with {more}", body)
