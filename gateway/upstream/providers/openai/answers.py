"""Reads answers of servers that speak the OpenAI API: usage, model, failure, kept state, a stream's end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.call import Usage
from gateway.upstream import sse
from gateway.upstream.providers.reported import check, count, keep, nanodollars, text, used
from gateway.upstream.taps import Event, ProviderReport, json_object

_END = b"[DONE]"
# Members of usage that count the searches that servers have made. Perplexity, xAI and OpenRouter have these names.
_SEARCHES = ("num_search_queries", "num_sources_used")
_BY_TOOL = ("server_tool_use", "server_tool_use_details")
_WEB_SEARCH = "web_search"
# Members of usage that tell of no tool: nearly every answer has these alone.
_COUNTS = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_CACHE_WRITE = "cache_creation_input_tokens"
_ANTHROPICS = frozenset({_CACHE_WRITE, "cache_read_input_tokens"})
_REJECTED = "rejected_prediction_tokens"
# Mistral documents both spellings.
_DETAILS = ("prompt_tokens_details", "prompt_token_details")
# Models of OpenAI that search the web for each answer.
_SEARCHING = ("-search-preview", "-search-api")


class OpenAIAnswers:
    """Reads the answers to one call. `stores`: the call asked the provider to keep the completion.

    `hide_usage`: the gateway asked for the event that holds nothing but usage, and the client did not. `charges`: where
    the server says what it has charged (`Dialect.charges`). `caches`: further names of what was read from the cache
    (`Dialect.caches`).
    """

    def __init__(
        self,
        *,
        stores: bool,
        hide_usage: bool = False,
        charges: tuple[str, int] | None = None,
        caches: tuple[str, ...] = (),
    ) -> None:
        self._stores = stores
        self._hide_usage = hide_usage
        self._charges = charges
        self._caches = caches
        self._cache_names = frozenset({*caches, _CACHE_WRITE, _DETAILS[1]})

    def document(self, document: dict[str, Any], report: ProviderReport) -> None:
        """Read an answer that is one document, or one chunk of a stream."""
        if report.model is None:
            # Azure's first chunk has an empty one.
            report.model = text(document.get("model")) or None
            if self._stores:
                keep(report, "completion", document.get("id"))
        if document.get("usage") is not None:
            check(report, document["usage"], whole=_is_whole(document["usage"]))
        if (usage := self._usage(document)) is not None:
            report.usage = usage
            report.rejected = count(document["usage"].get("completion_tokens_details"), _REJECTED) or 0
            _read_tools(document["usage"], report)
            if self._charges is not None:
                read_charge(document["usage"], self._charges, report)
        report.service_tier = text(document.get("service_tier")) or report.service_tier
        choices = document.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                _read_message(choice, report)

    def _usage(self, document: dict[str, Any]) -> Usage | None:
        usage = read_usage(document)
        if usage is None or self._cache_names.isdisjoint(document["usage"]):
            return usage
        return _with_cache(usage, document["usage"], self._caches)

    def silent(self, events: bytes, report: ProviderReport) -> bool:
        """True if nothing is read from any of these events, and none is the last one."""
        # `find` is the quickest search.
        if report.model is None or events.find(b'"error"') >= 0 or events.find(b'"audio"') >= 0:
            return False
        if events.find(_END) >= 0:
            return False
        return events.find(b'"usage"') < 0 or events.count(b'"usage"') == events.count(b'"usage":null')

    def event(self, event: bytes, report: ProviderReport) -> Event:
        """Read one event of a stream."""
        if self.silent(event, report):
            return Event.SHOW
        data = sse.data_of(event)
        # As SDKs see it: for them a stream has ended with whatever begins like that.
        if data.lstrip().startswith(_END):
            return Event.END
        document = json_object(data)
        if document is None:
            return Event.SHOW
        self.document(document, report)
        if document.get("error"):
            report.failed = True
            return Event.PERHAPS_LAST  # SDKs read no further
        if read_usage(document) is None:
            return Event.SHOW
        choices = document.get("choices")
        report.finished = _all_finished(choices)
        return Event.HIDE if self._hide_usage and choices == [] else Event.SHOW


def _is_whole(usage: object) -> bool:
    """True if usage that has any count of a chat has those of its input and its output, or the sum of both."""
    if not isinstance(usage, dict) or usage.keys().isdisjoint(("prompt_tokens", "completion_tokens")):
        return True
    either = usage.get("completion_tokens"), usage.get("total_tokens")
    return usage.get("prompt_tokens") is not None and either != (None, None)


def _all_finished(choices: object) -> bool:
    """True if an event with usage is the last one of a server that ends its streams so, without `[DONE]`.

    Cerebras does, and routers pass it on. Servers that report usage with every event have no reasons before their last;
    those that report it in an event of its own, as OpenAI does, send `[DONE]`.
    """
    if not isinstance(choices, list) or not choices:
        return False
    return all(isinstance(each, dict) and each.get("finish_reason") for each in choices)


def read_usage(document: dict[str, Any]) -> Usage | None:
    """Usage as chat completions report it, in an answer or in a chunk of a stream; None where there is none."""
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    input_tokens, output_tokens = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    if input_tokens is None:
        return None
    into, out = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    reasoning = count(out, "reasoning_tokens") or 0
    output = output_tokens or 0
    total = count(usage, "total_tokens")
    if total is not None and total > input_tokens + output:
        output = total - input_tokens  # xAI and Gemini count thoughts there alone, and bill them as output
    return Usage(
        input=input_tokens,
        output=output,
        cached=count(into, "cached_tokens") or 0,
        cache_write=count(into, "cache_write_tokens") or 0,
        reasoning=reasoning,
        audio_input=count(into, "audio_tokens") or 0,
        audio_output=count(out, "audio_tokens") or 0,
        image_input=count(into, "image_tokens") or 0,
    )


def _with_cache(usage: Usage, told: dict[str, Any], names: tuple[str, ...]) -> Usage:
    """Usage with what servers tell of their cache under further names.

    One number may stand under several. If they differ the least counts, because input that is not cached costs more.
    """
    numbers = [count(told.get(each), "cached_tokens") for each in _DETAILS] + [count(told, each) for each in names]
    cached = min((each for each in numbers if each is not None), default=0)
    written = max(count(told, _CACHE_WRITE) or 0, usage.cache_write)
    both, output = cached + written, count(told, "completion_tokens") or 0
    # Servers that hand on Anthropic's numbers as they are count them beside the input.
    total = None if _ANTHROPICS.isdisjoint(told) else count(told, "total_tokens")
    if both > usage.input or (both and total == usage.input + both + output):
        usage = replace(usage, input=usage.input + both, output=max(output, usage.output - both))
    return replace(usage, cached=cached, cache_write=written)


def read_charge(usage: dict[str, Any], charges: tuple[str, int], report: ProviderReport) -> None:
    """The charge that the server reports. With a key of one's own, a router's provider charges beside it."""
    name, per_dollar = charges
    charged = nanodollars(usage.get(name), per_dollar)
    if usage.get("is_byok") and charged is not None:
        details = usage.get("cost_details")
        beside = nanodollars(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
        charged = None if beside is None else charged + beside
    report.charged = charged


def _read_tools(usage: dict[str, Any], report: ProviderReport) -> None:
    """The searches that the provider has made for an answer."""
    if not _COUNTS.issuperset(usage):
        for name in _SEARCHES:
            used(report, _WEB_SEARCH, count(usage, name))
        for name in _BY_TOOL:
            used(report, _WEB_SEARCH, count(usage.get(name), "web_search_requests"))
    model = report.model
    if model is not None and "-search-" in model and any(each in model for each in _SEARCHING):
        report.tools.setdefault(_WEB_SEARCH + "_preview", 1)


def _read_message(choice: object, report: ProviderReport) -> None:
    """The parts of a message besides its text.

    Audio of an answer can be named in later calls instead of being sent again. Groq tells of the tools that it has run.
    """
    message = choice.get("message") or choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return
    audio = message.get("audio")
    if isinstance(audio, dict):
        keep(report, "audio", audio.get("id"))
    executed = message.get("executed_tools")
    if isinstance(executed, list):
        used(report, "executed_tools", len(executed))
