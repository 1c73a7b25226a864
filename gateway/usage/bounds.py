"""The worst case of a call: the most tokens that its input can be, and whether it has a bound at all.

A tokenizer makes at least one byte of text into each token, so the bytes of what a model can see are an upper bound of
its tokens; the marks that a provider puts around messages and tools are added. Images and documents count by their
maker's rule (`media.py`), and what has none, or is kept by the provider, is bounded by the model's window where that is
known (`windows.py`); so is what a limited number of searches brings (`hosted_tools.py`). All else can be of any size.
Specification: limits.md.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any, Final, Literal, NamedTuple

from gateway.call import AMOUNT, WITHOUT_OUTPUT_LIMIT, Call
from gateway.marks import has_long_run
from gateway.usage import hosted_tools, media, windows

_ORDERS: Final = "a2a.message."

OF_A_CALL: Final = 8
"""Tokens that OpenAI, Anthropic and Google add to each call: its beginning, and the head of the answer."""
OF_ANOTHER_CALL: Final = 128
"""The same of other models, whose templates have a prompt of their own: 30 to 70 tokens in recorded calls."""
OF_A_LONG_PROMPT: Final = 1024
"""The same of models whose maker puts a long prompt before each call: xAI 683 tokens in a recorded call."""
OF_AN_OBJECT: Final = 4
"""Tokens around each message or part of one, besides its role, which counts as text, and around a list of values."""
OF_A_MEMBER: Final = 2
"""Tokens around each member of an object that a model sees as JSON, and around each value of a list."""
OF_TOOLS: Final = 1024
"""The text by which a provider tells its model how to call tools."""
OF_A_TOOL: Final = 64
OF_A_KNOWN_TOOL: Final = 2048
"""Tokens of the text about a tool that the provider defines and the client carries out: Anthropic up to 1,250."""
OF_A_TOOLSET: Final = 8192
"""The same for a whole set of them in one."""

# Members of a body that steer the provider and that no model sees.
_SETTINGS: Final = frozenset(
    {
        *("model", "models", "stream", "stream_options", "store", "user", "metadata", "seed", "service_tier"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stop", "stop_sequences"),
        *("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs"),
        *("top_logprobs", "parallel_tool_calls", "reasoning_effort", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_retention", "encoding_format", "dimensions", "anthropic_version", "background", "include"),
        *("truncation", "thinking", "verbosity", "safetySettings", "safety_settings", "inference_geo", "speed"),
    }
)
# Members that hold messages, and names that give a message its form: a model sees those as the provider's own marks.
# All other names count as text: the arguments of a call, the results of tools and schemas are shown as JSON.
_MESSAGES: Final = frozenset(
    {
        *("messages", "input", "system", "instructions", "prompt"),
        *("contents", "content", "systemInstruction", "system_instruction"),
    }
)
_FORM: Final = frozenset({"role", "content", "type", "text", "parts", "name", "cache_control"})
# Gemini has the settings in an object of their own, beside schemas, which a model sees.
_GROUPED: Final = ("generationConfig", "generation_config")
# Calls that a model answers with text: of others content that is no text has no bound here.
_GENERATING: Final = frozenset({"chat.completions", "responses", "messages", "generate_content"})
# Models of which each call has little around it, and those whose maker says much. A router puts the maker before them.
_PLAIN_MODELS: Final = re.compile(r"(?:.*/)?(?:ft:)?(?:gpt-(?!oss)|o\d|chatgpt-|text-embedding-|claude-|gemini-).*")
_LONG_PROMPTS: Final = "grok"
# Models that search the web for each answer, without a tool in the request, and servers' own systems of several models.
_BY_THEMSELVES: Final = ("-search-preview", "-search-api", "deep-research", "sonar", "compound")
# Routes that take a model and make no tokens: they only count.
_COUNTING: Final = ("count_tokens", "countTokens", "input_tokens")
# Characters of a text that are normalized at once, and the same of one with long runs of marks.
_WINDOW: Final = 16 * 1024
_SHORT_WINDOW: Final = 64
OF_A_CUT: Final = 64
"""The most bytes that a letter and its marks can save by being composed, where a text is cut between them."""


def asks_a_model(call: Call) -> bool:
    """True if a call can use tokens at all. Those to tools and agents have none that a provider would report."""
    if call.method != "POST" or call.protocol is not None or call.action.endswith(_COUNTING):
        return False
    return call.model is not None or bool(call.references)


def charge_of_agent(call: Call) -> int:
    """The nano-dollars that a call to another agent counts for: its price, or what the call says if that is more."""
    if call.agent is None or not call.action.startswith(_ORDERS):
        return 0
    return 1000 * max(int(call.agent.get("price_microusd", 0)), int(call.params.get(AMOUNT, 0)))


class KeptState(NamedTuple):
    """The provider's state of an earlier call: the model that it asked, and the tokens that it has used."""

    model: str
    tokens: int


def previous_response(call: Call) -> str | None:
    """The response that a call continues, if that is all of the provider's state that it names."""
    named = None if call.body is None else call.body.get("previous_response_id")
    if not isinstance(named, str) or [(each.kind, each.id) for each in call.references] != [("response", named)]:
        return None
    return named


def keeps_all(call: Call) -> bool:
    """True if a response to a call has all that it continues, so that its usage bounds what continues it in turn."""
    body = call.body
    if body is None or call.action != "responses" or _compacts(body) or body.get("context_management") is not None:
        return False
    return body.get("truncation") in (None, "disabled")


class Bound(NamedTuple):
    """The most that a call can use of its input, of what the provider does for it, and what has no bound.

    `known` is the part of its input that has one of its own. The rest, which `loose` names, has only the model's
    window, which is far more than such calls use: limits that work by estimates take an estimate instead. `rounds` are
    the calls to the model that it may take, and `fees` how often it may use tools of the provider that cost something
    by the use.
    """

    known: int
    input_tokens: int
    rounds: int = 1
    fees: tuple[tuple[str, int], ...] = ()
    unbounded: str = ""
    loose: str = ""


MAKERS: Final = frozenset({"openai", "anthropic", "gemini", "vertex"})
"""The names of models mean something at these. A deployment of Azure has any name, and so have others' models."""


def of(call: Call, kept: KeptState | None = None, *, preset: str = "openai") -> Bound:
    """The bound of a call, as it will be forwarded. `kept` is what the response has used that it continues.

    All of that may be input of this call, but no more, if it asks the same model: others make other tokens of it.
    Makers' rules count at the makers themselves (`preset`).
    """
    hosted = hosted_tools.hosted(call) if call.tools else []
    found = media.find(call) if call.modalities and call.body is not None else None
    if found is not None and preset not in MAKERS:
        found = found._replace(tokens=0, unbounded=found.kinds)
    known = _input(call, call.body if found is None else found.body) + (0 if found is None else found.tokens)
    rest = _rest(call, found)
    if kept is not None and call.models == (kept.model,) and previous_response(call) is not None:
        known += kept.tokens
        rest = [each for each in rest if each != "response"]
    limited = hosted_tools.rounds(call, hosted) if hosted else None
    asked = preset in MAKERS and (bool(rest) or limited is not None)
    window = windows.window(call.models, call.betas) if asked else None
    rounds, fees = limited if limited is not None and window is not None else (1, ())
    why = _unbounded(call, [] if rounds > 1 else hosted)
    if rest and (window is None or any(each not in _IN_THE_WINDOW for each in rest)):
        why = why or _told(call, rest)
    if window is None:
        return Bound(known, known, rounds, fees, why)
    loose = _told(call, rest) if rest else f"tools that the provider runs ({', '.join(hosted)})"
    return Bound(known, window * rounds, rounds, fees, why, loose)


def input_tokens(call: Call) -> int:
    """The most input tokens of a call that is not unbounded, as it will be forwarded."""
    if call.modalities or call.references or call.tools:
        return of(call).input_tokens
    return _input(call, call.body)


def unbounded(call: Call) -> str:
    """The parts of a call that have no bound; empty if all of it has one."""
    return of(call).unbounded


# These go into a call to the model as a part of its input, so that the model's window holds it.
_IN_THE_WINDOW: Final = frozenset({"image", "audio", "video", "file", "response", "conversation", "item", "message"})


def _rest(call: Call, found: media.FoundMedia | None) -> list[str]:
    """The kinds of content and of state in a call of which nothing but its model's window can say how much they are."""
    rest = sorted({each.kind for each in call.references})
    if found is None:
        return rest + list(call.modalities)
    # One that was not found stands where it is not known, or is asked for.
    return rest + [each for each in call.modalities if each in found.unbounded or each not in found.kinds]


def _told(call: Call, rest: list[str]) -> str:
    kinds = sorted({each.kind for each in call.references})
    if kinds and rest[0] in kinds:
        return f"state that the provider keeps ({', '.join(kinds)})"
    return f"content that is not text ({', '.join(rest)})"


def _input(call: Call, body: dict[str, Any] | None) -> int:
    """The most input tokens of what a body says."""
    tokens = max(map(_of_a_call, call.models), default=OF_A_CALL)
    if call.tools:
        tokens += OF_TOOLS + OF_A_TOOL * len(call.tools)
        for tool in call.tools:
            if not tool.name:
                tokens += OF_A_TOOLSET if "toolset" in tool.type else OF_A_KNOWN_TOOL
    if body is None:
        return tokens + len(call.raw)
    for name, value in body.items():
        if name not in _SETTINGS:
            tokens += _of_settings(value) if name in _GROUPED else _size(value, name in _MESSAGES)
    return tokens


def predicted_tokens(call: Call) -> int:
    """The most tokens that a call is charged as output because it predicts them and the model does not take them.

    OpenAI counts `rejected_prediction_tokens` in those of the completion, "for purposes of billing, output, and context
    window limits", and no output limit of the request holds them back. For each answer they are no more than those of
    the prediction (https://platform.openai.com/docs/guides/predicted-outputs).
    """
    prediction = None if call.body is None else call.body.get("prediction")
    if prediction is None:
        return 0
    return _size(prediction, False) * answers(call)


STOPPING: Final = frozenset({"openai", "anthropic"})
"""Makers that stop a stream, and its charge, when its connection is closed.

OpenRouter's documentation lists them (https://openrouter.ai/docs/api-reference/streaming, "Stream Cancellation"):
Google, Groq, Mistral and others go on to the end of the answer and charge for it. Models of most others of its list may
think unseen.
"""

# Models whose streams show all that they make: those of OpenAI before its models that reason, and Claude until 4 where
# thinking is not asked for.
_SHOWING: Final = re.compile(
    r"(?:.*/)?(?:ft:)?(?:gpt-3\.5|gpt-4|chatgpt-4o|claude-3|claude-(?:opus|sonnet|haiku)-4).*", re.DOTALL
)


def is_seen(call: Call, preset: str) -> bool:
    """True if what has come of a stream, and little more, is all that is charged if its connection is closed."""
    if not call.stream or preset not in STOPPING or call.body is None or call.body.get("prediction") is not None:
        return False
    if call.body.get("background"):
        return False  # which goes on without its client
    thinking = call.body.get("thinking")
    if thinking is not None and not (isinstance(thinking, dict) and thinking.get("type") == "disabled"):
        return False
    return bool(call.models) and all(_SHOWING.fullmatch(each) for each in call.models)


def answers(call: Call) -> int:
    """The number of answers that a call asks for."""
    given = call.body.get("n") if call.body is not None else None
    return given if given.__class__ is int and given > 1 else 1


# Clients use few models, and each call asks for both of these.
@functools.lru_cache(maxsize=1024)
def _of_a_call(model: str) -> int:
    if _PLAIN_MODELS.fullmatch(model):
        return OF_A_CALL
    return OF_A_LONG_PROMPT if _LONG_PROMPTS in model else OF_ANOTHER_CALL


@functools.lru_cache(maxsize=1024)
def _works_by_itself(model: str) -> bool:
    return any(part in model for part in _BY_THEMSELVES)


def region(call: Call) -> str:
    """The place where a call asks to be served, if that may change its price: only Anthropic has such a member."""
    if call.provider != "anthropic" or call.body is None:
        return ""
    asked = call.body.get("inference_geo")
    return "" if asked is None or asked == "global" else str(asked)


def _unbounded(call: Call, hosted: list[str]) -> str:
    """The parts of a call that have no bound, whatever its content is."""
    if call.body is not None and _asks_for_more_than_text(call.body):
        return f"an answer that is not text ({', '.join(call.modalities)})"
    if hosted:
        return f"tools that the provider runs ({', '.join(hosted)})"
    for model in call.models:
        if _works_by_itself(model):
            return f"a model that searches or calls tools by itself ({model})"
    if call.action in WITHOUT_OUTPUT_LIMIT:
        return "an answer whose length nothing limits"
    if call.action not in _GENERATING and call.modalities:
        return f"content that is not text ({', '.join(call.modalities)})"
    if call.body is not None and _compacts(call.body):
        return "a conversation that the provider compacts by a further call to the model"
    if call.body is not None and _mode(call.body) not in (None, "standard"):
        return "a mode of reasoning that may be several calls to the model"
    return ""


def _asks_for_more_than_text(body: dict[str, Any]) -> bool:
    asked = [body.get("modalities")]
    asked += [(body.get(name) or {}).get("responseModalities") for name in _GROUPED if isinstance(body.get(name), dict)]
    return any(each is not None and [str(one).lower() for one in each] != ["text"] for each in asked)


COMPACTION_TRIGGER: Final = "compaction_trigger"
"""OpenAI's item that asks for what `POST /responses/compact` does, as Codex does with OpenAI's own provider."""


def has_compaction_trigger(body: dict[str, Any]) -> bool:
    """True if an item of a response's input asks for a compaction."""
    items = body.get("input")
    return items.__class__ is list and any(
        each.__class__ is dict and each.get("type") == COMPACTION_TRIGGER for each in items
    )


def _compacts(body: dict[str, Any]) -> bool:
    """True if a call asks for its conversation to be summed up on the way, which is billed besides what it asks for."""
    if body.get("compaction") is not None:
        return True
    if has_compaction_trigger(body):
        return True
    settings = body.get("context_management")
    if settings is None:
        return False
    edits = settings.get("edits", [settings]) if isinstance(settings, dict) else settings
    kinds = [each.get("type") for each in edits if isinstance(each, dict)] if isinstance(edits, list) else [edits]
    return any(str(kind).startswith("compact") for kind in kinds)


def _mode(body: dict[str, Any]) -> object:
    """The way of reasoning that a call asks for, if it names one."""
    reasoning = body.get("reasoning")
    return reasoning.get("mode") if isinstance(reasoning, dict) else None


def _size(value: Any, message: bool) -> int:
    """The most tokens that a value of a body can be. `message`: it is one, or holds some."""
    # Loops instead of sums, and no call for the strings of which most of it consists: every call is counted.
    kind = value.__class__
    if kind is str:
        return text_size(value)
    if kind is dict:
        size = OF_AN_OBJECT
        for name, each in value.items():
            form = message and name in _FORM
            if not form:
                size += text_size(name) + OF_A_MEMBER
            size += len(each) if each.__class__ is str and each.isascii() else _size(each, form)
        return size
    if kind is list:
        size = 0 if message else OF_AN_OBJECT
        for each in value:
            size += _size(each, message) if each.__class__ is dict else _size(each, message) + OF_A_MEMBER
        return size
    return len(str(value))


def _of_settings(value: Any) -> int:
    """The same for an object of settings: its numbers steer the provider, as the output limit that the gateway sets."""
    size = 0
    for name, each in value.items() if isinstance(value, dict) else ():
        if not isinstance(each, int | float):
            size += text_size(name) + OF_A_MEMBER + _size(each, False)
    return size


def text_size(text: str) -> int:
    """The bytes of a text, also of the form that some tokenizers bring it into first."""
    if text.isascii():
        return len(text)
    size = len(text.encode("utf-8", "surrogatepass"))
    # Between two parts only compositions are missed, which make a text shorter. One call for all of it would hold the
    # interpreter, and so the event loop beside it, for half a second.
    if all(unicodedata.is_normalized("NFKC", text[at : at + _WINDOW]) for at in range(0, len(text), _WINDOW)):
        return size
    if has_long_run(text):
        # Composing what is decomposed makes no text longer, and decomposing each part alone has the same length.
        return max(size, _form("NFKD", text, _SHORT_WINDOW))
    # Characters on both sides of a cut may compose otherwise.
    return max(size, _form("NFKC", text, _WINDOW) + OF_A_CUT * (len(text) // _WINDOW))


def _form(form: Literal["NFKC", "NFKD"], text: str, window: int) -> int:
    """The bytes of the parts of a text in this form. No step works on more than a part: one character may become 18."""
    size = 0
    for at in range(0, len(text), window):
        size += len(unicodedata.normalize(form, text[at : at + window]).encode("utf-8", "surrogatepass"))
    return size
