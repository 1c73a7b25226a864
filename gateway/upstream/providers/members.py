"""Reading the members of a request's objects so that no lenient reader finds something else in them.

Servers differ in what they take for a name they know: some ignore case, some trim spaces, some drop characters that
cannot be seen, some take `maxTokens` for `max_tokens`. So a name that a policy relies on has its one documented
spelling, every other name in the same object consists of plain characters and has other letters, and everything else is
refused. Objects whose names belong to the client (a tool's parameters, metadata) are not read here.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from gateway.body import Body
from gateway.errors import Denied
from gateway.identity.credentials import PREFIXES
from gateway.marks import LONGEST, has_long_run
from gateway.upstream import json_body
from gateway.upstream.strict_json import shown

_NAME = re.compile(r"[A-Za-z0-9_.:$-]+")
_NO_SIGNS = str.maketrans("", "", "_.:$-/")
_WORD = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_FEATURE = re.compile(r"[A-Za-z0-9_.=-]{1,128}")
_UNSEEN_CHARACTERS = frozenset({"Cf", "Cc", "Mn", "Co", "Cn"})
_KIND = re.compile(r"[a-z0-9_.:/-]{1,128}")
# Characters of a name whose check is remembered: clients use few. A key of this gateway has more.
_REMEMBERED = 64

_BY_MODEL = "the model is named in `model`"
_NO_MODEL = "this route names no model; another API may have a route of the same path"
_ITSELF = "a request names its model, its prompts and its tools itself"

UNSEEN = {
    **dict.fromkeys(("engine", "engine_id", "endpoint_id", "deployment", "deployment_id"), _BY_MODEL),
    # Adapters make another model of the one that is named.
    **dict.fromkeys(("adapter", "adapter_id", "lora", "lora_path", "lora_name", "peft"), _BY_MODEL),
    # Stored agents and prompts bring a model, prompts and tools of their own.
    **dict.fromkeys(("preset", "prompt_id", "agent", "agent_id", "agent_reference", "assistant_id", "bot_id"), _ITSELF),
    **dict.fromkeys(
        ("plugins", "compound_custom", "search_parameters", "enable_search", "data_sources", "connectors"),
        "tools are listed in `tools`",
    ),
    **dict.fromkeys(("extra_body", "extra_query", "extra_headers"), "its members stand in the request itself"),
    # If such a name is known it beats the documented ones, and with them a policy's cap.
    **dict.fromkeys(
        ("max_new_tokens", "n_predict", "num_predict", "max_tokens_to_sample"),
        "the output limit has one documented name",
    ),
    "chat_template": "prompts are written in `messages`",
    **dict.fromkeys(
        ("api_base", "base_url", "api_key", "virtual_key", "custom_llm_provider"),
        "the upstream's settings say where a call goes",
    ),
}
"""Members by which some servers do what no policy could see, and why they are refused."""

# Letters of names that make a server do the same where the gateway does not read them, at any depth.
_HIDDEN = frozenset(
    {"tools", "functions", "plugins", "mcpservers", "extrabody", "chattemplate", "promptid", "conversation"}
    | {"fileid", "fileids", "vectorstoreids", "previousresponseid", "previousmessageid"}
    | {"containerid", "fileuri", "cachedcontent", "serverurl"}
    | {"maxtokens", "maxcompletiontokens", "maxoutputtokens", "maxnewtokens", "numpredict", "npredict"}
    | {"apibase", "baseurl", "apikey", "lorapath", "agentreference", "assistantid"}
)
EXACT = 2**53 - 1
"""The largest integer that all readers of JSON read alike."""

PRESET, ONLINE = "@preset/", ":online"
"""Parts of a model's name: before a stored preset, and behind one that searches the web: OpenRouter has both."""

# Parts of names under which some server looks for a model.
_MODEL_WORDS = ("model", "fallback", "deployment", "adapter", "inferenceprofile")
# Members that are read at every depth: each model in it is judged, or its names are the client's.
_READ_WHOLE = frozenset(
    {"messages", "system", "input", "prompt", "items", "files", "tools", "functions", "models", "fallbacks"}
    | {"moderation"}
)
# Of objects that are read otherwise, those that hold names of the client.
_SCHEMAS = frozenset({"schema", "json_schema", "parameters"})


def refuse(reason: str) -> NoReturn:
    """End the request: a client can mend it by what `reason` says."""
    raise Denied("bad_request", reasons=[reason])


def parsed(raw: Body) -> dict[str, Any]:
    """The JSON object that a request body is."""
    found = json_body.parse(raw)
    if not isinstance(found, dict):
        refuse("the body must be an object")
    return found


def body(raw: Body, names: frozenset[str], unseen: Mapping[str, str], theirs: frozenset[str]) -> dict[str, Any]:
    """The JSON object that a request body is, with its `names` spelled as documented.

    `unseen` are members by which it would do what no policy could see, and what to do instead; `theirs` those whose
    content belongs to the client.
    """
    found = parsed(raw)
    check_names(found, names)
    for name, instead in unseen.items():
        if found.get(name) is not None:
            refuse(f"`{name}` is not supported: {instead}")
    check_unread(found, names, theirs)
    return found


def check_names(item: dict[str, Any], names: frozenset[str]) -> None:
    """Refuse names of `item` that a lenient reader could take for one of `names`."""
    if item.keys() <= names:
        return
    for key in item:
        if key in names:
            continue
        fault = _fault_of_name(key, names) if len(key) <= _REMEMBERED else _fault_of_name.__wrapped__(key, names)
        if fault:
            refuse(fault)


@functools.lru_cache(maxsize=4096)
def _fault_of_name(key: str, names: frozenset[str]) -> str:
    """The fault of a name that is not one of `names`; empty for a name of its own."""
    if not _NAME.fullmatch(key):
        return f"the member name {shown(key)} may hold only letters, digits and the characters `_.:$-`"
    found = documented(key, names)
    return "" if found is None else f"the member {shown(key)} must be spelled `{found}`"


def documented(name: str, names: frozenset[str]) -> str | None:
    """The one of `names` that has the letters of this name."""
    return _by_letters(names).get(_letters(name))


def check_nested(value: object, names: frozenset[str], theirs: frozenset[str] = frozenset()) -> None:
    """`check_names` for every object in `value`, but for what stands under `theirs`: those objects are the client's."""
    if isinstance(value, dict):
        check_names(value, names)
        for name, inner in value.items():
            if name not in theirs:
                check_nested(inner, names, theirs)
    elif isinstance(value, list):
        for inner in value:
            check_nested(inner, names, theirs)


def check_spelling(value: object, names: frozenset[str]) -> None:
    """Refuse members in `value`, at any depth, that a lenient reader could take for one of `names` or for each other.

    Other than with `check_names`, any character may stand in a name: maps have the client's own.
    """
    if isinstance(value, dict):
        seen: dict[str, str] = {}
        for name, inner in value.items():
            letters = _bare(name)
            if name not in names and (documented := _by_bare(names).get(letters)) is not None:
                refuse(f"the member {shown(name)} must be spelled `{documented}`")
            if letters in seen:
                refuse(f"the members {shown(seen[letters])} and {shown(name)} could be taken for each other")
            seen[letters] = name
            check_spelling(inner, names)
    elif isinstance(value, list):
        for inner in value:
            check_spelling(inner, names)


@functools.lru_cache(maxsize=1024)
def _by_bare(names: frozenset[str]) -> dict[str, str]:
    return {_bare(name): name for name in names}


def _bare(name: str) -> str:
    """The letters and digits of a name, in lower case, however they are written; all of it if it has none."""
    if has_long_run(name):
        refuse(f"the member name {shown(name)} has more than {LONGEST} combining marks in a row")
    seen = (each for each in name.partition("\0")[0] if unicodedata.category(each) not in _UNSEEN_CHARACTERS)
    plain = unicodedata.normalize("NFKC", "".join(seen)).casefold()
    return "".join(each for each in plain if each.isalnum()) or name


def check_unread(body: dict[str, Any], read: frozenset[str], theirs: frozenset[str]) -> None:
    """Refuse members that nobody reads and that name a model, a tool, a limit or kept state, at any depth.

    `read` are those whose tools, limits and state are known; only some of them may name a model, and are read for it.
    Members in `theirs` hold the client's own data.
    """
    for name, value in body.items():
        if name not in read and (unread := _unread(name) if len(name) <= _REMEMBERED else _unread.__wrapped__(name)):
            if unread == "model":
                refuse(f"`{name}` is not supported: {_BY_MODEL if name != 'model' else _NO_MODEL}")
            if value is not None and value.__class__ is not bool:
                refuse(f"`{name}` is not supported: policies could not see it")
        if name in theirs or value.__class__ not in (dict, list) or (name in read and name in _READ_WHOLE):
            continue
        check_inside(name, value, read=name in read)


@functools.lru_cache(maxsize=4096)
def _unread(name: str) -> str:
    """`model` where some server would look for one under this name, `hidden` where it would do what no policy sees."""
    letters = _letters(name)
    return "model" if names_model(letters) else "hidden" if letters in _HIDDEN else ""


def check_inside(name: str, value: object, *, read: bool = False) -> None:
    """Refuse members at any depth of `value`, which stands under `name`, that name what no policy sees.

    `read`: its tools, limits and state are known, and so is where it has names of the client's own.
    """
    for inner, held in _named(value, _SCHEMAS if read else frozenset()):
        # A switch names nothing.
        if held is None or held.__class__ is bool:
            continue
        letters = _letters(inner)
        if names_model(letters) or (not read and letters in _HIDDEN):
            refuse(f"`{name}` must not hold a member {shown(inner)}: policies could not see it")


def names_model(letters: str) -> bool:
    """True if some server would look for a model under a name of these letters."""
    return any(word in letters for word in _MODEL_WORDS)


def _named(value: object, skipped: frozenset[str]) -> Iterator[tuple[str, object]]:
    """All members in `value`, at any depth, but for what stands under `skipped`."""
    if isinstance(value, dict):
        yield from value.items()
        value = [inner for name, inner in value.items() if name not in skipped]
    if isinstance(value, list):
        for inner in value:
            yield from _named(inner, skipped)


def values_of(value: object, name: str, theirs: frozenset[str] = frozenset()) -> Iterator[object]:
    """All values under `name` in `value`, at any depth, but for null and for those under `theirs`."""
    if isinstance(value, dict):
        if value.get(name) is not None:
            yield value[name]
        for inner_name, inner in value.items():
            if inner_name not in theirs:
                yield from values_of(inner, name, theirs)
    elif isinstance(value, list):
        for inner in value:
            yield from values_of(inner, name, theirs)


@functools.cache
def _by_letters(names: frozenset[str]) -> dict[str, str]:
    return {_letters(name): name for name in names}


def _letters(name: str) -> str:
    return name.lower().translate(_NO_SIGNS)


def one_object(value: object, what: str, names: frozenset[str]) -> dict[str, Any]:
    """`value` as an object with its `names` spelled as documented."""
    if not isinstance(value, dict):
        refuse(f"`{what}` must be an object")
    check_names(value, names)
    return value


def objects(value: object, what: str, names: frozenset[str]) -> list[dict[str, Any]]:
    """`value` as a list of such objects; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        refuse(f"`{what}` must be a list")
    for item in value:
        if not isinstance(item, dict):
            refuse(f"`{what}` must hold objects")
        check_names(item, names)
    return value


def boolean(value: object, what: str) -> bool:
    """`value` as a boolean; an absent one is false."""
    if value is not None and value.__class__ is not bool:
        refuse(f"`{what}` must be true or false")
    return bool(value)


def check_integers(value: object) -> None:
    """Refuse integers in `value`, at any depth, that readers of JSON with doubles alone take for another (RFC 8259, 6).

    JavaScript reads 9007199254740993 as 9007199254740992.
    """
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            check_integers(each)
    elif isinstance(value, int) and abs(value) > EXACT:
        refuse(f"an integer beyond {EXACT} is read differently by some servers: send it as a text")


def whole_number(value: object, what: str, highest: int) -> int:
    """`value` as an integer from 1 to `highest`."""
    if value.__class__ is not int or not 1 <= value <= highest:
        refuse(f"`{what}` must be a whole number from 1 to {highest}")
    return value


def text(value: object, what: str) -> str:
    """`value` as a string that is not empty."""
    if not isinstance(value, str) or not value:
        refuse(f"{what} must be a string")
    return value


def word(value: object, what: str) -> str:
    """`value` as a string of plain characters, such as the type of a tool."""
    found = text(value, what)
    if not _WORD.fullmatch(found):
        refuse(f"{what} must be at most 128 letters, digits and the characters `_.:/-`")
    return found


def service_tier(value: object) -> str | None:
    """The tier that a call asks for, as prices name it; None if the provider may choose, or it is not known."""
    if value is None:
        return ""
    return value.lower() if isinstance(value, str) and value != "auto" else None


def kind(value: object, what: str, known: frozenset[str]) -> str:
    """`value` as a type: a word in lower case that is not a misspelling of one of `known`."""
    found = word(value, what)
    if not _KIND.fullmatch(found):
        refuse(f"{what} must be in lower case")
    if found not in known and (documented := _by_letters(known).get(_letters(found))) is not None:
        refuse(f"{what} must be spelled `{documented}`")
    return found


def tool_models(tool: dict[str, Any], names: frozenset[str], theirs: frozenset[str]) -> Iterator[str]:
    """The models that a tool brings, at any depth.

    `names` have one spelling in all its objects; `theirs` hold the client's own, such as a JSON Schema.
    """
    check_nested(tool, names, theirs)
    for name in ("models", "fallbacks"):
        if any(True for _ in values_of(tool, name, theirs)):
            refuse(f"a tool must not have a member `{name}`: it names its model in `model`")
    for each in values_of(tool, "model", theirs):
        yield model(each, "`model` of a tool")


def no_server(item: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Refuse the address of an MCP server in a tool that is none."""
    for name in names:
        if item.get(name) is not None:
            refuse(f"only a tool of type mcp may have a member `{name}`")


def server(item: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The place of an MCP server, under one of `names`. A URL comes without its query, which may hold a secret."""
    given = [name for name in names if item.get(name) is not None]
    if len(given) != 1:
        refuse("an MCP server must have exactly one of " + ", ".join(f"`{name}`" for name in names))
    found = text(item[given[0]], f"`{given[0]}` of an MCP server")
    if len(found) > 2048 or not found.isascii() or not found.isprintable() or set(found) & set(' \\"<>'):
        refuse(f"`{given[0]}` of an MCP server must be printable ASCII without spaces and quotes")
    place = re.split(r"[?#]", found, maxsplit=1)[0]
    if "@" in place.partition("//")[2].partition("/")[0]:
        refuse(f"`{given[0]}` of an MCP server must not hold a user or password")
    return place


def features(listed: str | None, header: str) -> tuple[str, ...]:
    """The features that a header switches on, in order; their names are separated by commas."""
    if not listed:
        return ()
    found = [each.strip(" \t") for each in listed.split(",")]
    if not all(map(_FEATURE.fullmatch, found)):
        refuse(f"`{header}` must be a list of names, separated by commas")
    return tuple(found)


def model(value: object, what: str = "`model`", *, routed: bool = False) -> str:
    """`value` as the name of a model. The exact text is judged and forwarded, so it must look like what it is.

    `routed`: the caller reads what routers take in a name, a stored preset and a search.
    """
    found = text(value, what)
    check = _fault_of_model if len(found) <= _REMEMBERED else _fault_of_model.__wrapped__
    if fault := check(found, routed):
        refuse(f"{what} {fault}")
    return found


@functools.lru_cache(maxsize=1024)
def _fault_of_model(name: str, routed: bool) -> str:
    """The fault of the name of a model; empty if there is none."""
    if len(name) > 256 or not name.isascii() or not name.isprintable() or " " in name:
        return "must be at most 256 printable ASCII characters without spaces"
    for sign in (ONLINE, PRESET):
        if sign in name.lower() and not (routed and sign in name):
            return f"must not hold `{sign}`: {_ITSELF}"
    # The name is recorded and shown in many places, where no secret may be.
    return "holds a key of this gateway" if any(prefix in name for prefix in PREFIXES.values()) else ""
