"""Reads from a response the tools that the provider has run and charges for besides the tokens of its model.

Some by the use (searches), some by tokens of another model (images), some by time, of which the answer does not tell:
those count as used, and a price that knows nothing of them gives the call no cost. Tools that cost nothing but tokens
are left out. Specification: https://developers.openai.com/api/docs/pricing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.call import Usage
from gateway.upstream.providers.reported import count, text
from gateway.upstream.taps import ProviderReport

_SEARCH, _PREVIEW, _IMAGES = "web_search", "web_search_preview", "image_generation"

# Items that cost no more than the tokens of the model: the client carries them out, or they read what is there.
_FREE = frozenset(
    {"function_call", "custom_tool_call", "mcp_call", "computer_call", "local_shell_call", "apply_patch_call"}
    | {"tool_search_call"}
)
_MOST_TOOLS = 32  # the most tools that are reported

# The acts of searches on pages that they have found.
_READING = frozenset({"open_page", "find_in_page", "find"})


def read(document: dict[str, Any], report: ProviderReport) -> None:
    """Report the tools that were used, and the tokens of images, which are added to the usage of the answer."""
    output, listed = document.get("output"), document.get("tools")
    items = [each for each in output if isinstance(each, dict)] if isinstance(output, list) else []
    tools = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    hosted_shell = any(each.get("type") == "shell_call_output" for each in items) or any(map(_is_hosted_shell, tools))
    uses = Counter(tool for each in items if (tool := _tool(each, hosted_shell)))
    told = document.get("tool_usage")
    if isinstance(told, dict):
        billable = count(told.get(_SEARCH), "num_requests")
        if billable is not None:
            uses[_SEARCH] = billable
        images = _images(items, tools, told.get("image_gen"))
        if images is None:
            uses[_IMAGES] = uses[_IMAGES] or 1
        else:
            del uses[_IMAGES]
            report.further = images
            for _, each in images:
                report.usage = each if report.usage is None else report.usage.plus(each)
    if uses[_SEARCH] and any(str(each.get("type")).startswith(_PREVIEW) for each in tools):
        uses[_PREVIEW] = uses.pop(_SEARCH)
    report.tools = {name: times for name, times in uses.most_common(_MOST_TOOLS) if times}


def _tool(item: dict[str, Any], hosted_shell: bool) -> str:
    """The tool that an item of the output has used, as prices name it; empty if it costs nothing by itself."""
    kind = text(item.get("type")) or ""
    if not kind.endswith("_call") or kind in _FREE:
        return ""
    if kind == "web_search_call":
        action = item.get("action")
        return "" if isinstance(action, dict) and text(action.get("type")) in _READING else _SEARCH
    if kind == "shell_call" and not hosted_shell:
        return ""
    return kind.removesuffix("_call")


def _is_hosted_shell(tool: dict[str, Any]) -> bool:
    environment = tool.get("environment")
    return tool.get("type") == "shell" and isinstance(environment, dict) and environment.get("type") != "local"


def _images(
    items: list[dict[str, Any]], tools: list[dict[str, Any]], told: object
) -> tuple[tuple[str | None, Usage], ...] | None:
    """The tokens of the models that have made images, by model; None unless all of that is told."""
    made = [each for each in items if each.get("type") == "image_generation_call"]
    drawn = [_of_svg(each["svg_usage"]) for each in made if isinstance(each.get("svg_usage"), dict)]
    found = tuple(each for each in drawn if each is not None)
    fresh, output = count(told, "input_tokens") or 0, count(told, "output_tokens") or 0
    if len(found) == len(made) and not fresh and not output:
        return found
    models = {text(each.get("model")) for each in tools if each.get("type") == _IMAGES}
    model = models.pop() if len(models) == 1 else None
    if len(found) != len(drawn) or not fresh or model is None or not isinstance(told, dict):
        return None
    into, out = told.get("input_tokens_details"), told.get("output_tokens_details")
    usage = Usage(
        input=fresh,
        output=output,
        cached=count(told, "cached_tokens") or 0,
        image_input=count(into, "image_tokens") or 0,
        # If it does not say which are images, all are: those are dearer.
        image_output=output if not isinstance(out, dict) else count(out, "image_tokens") or 0,
    )
    return (*found, (model, usage))


def _of_svg(told: dict[str, Any]) -> tuple[str | None, Usage] | None:
    model, fresh = text(told.get("model")), count(told, "input_tokens")
    if model is None or fresh is None:
        return None
    return model, Usage(fresh, count(told, "output_tokens") or 0, reasoning=count(told, "reasoning_tokens") or 0)
