"""The models that a call may have meant: names in a bundle that are nearly the one in the call.

For operators only. A client is never told what stands in a policy.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final

_CUTOFF: Final = 0.8
_MOST: Final = 20_000  # texts of a bundle that are looked at
_LONGEST: Final = 128
_TEXT: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def similar(model: str, modules: Mapping[str, str], data: Any) -> list[str]:
    """Texts in a bundle's rules and data that are close to a model's name, the closest first.

    None if the name itself is there: then the policy knows the model, and means what it says.
    """
    texts = {each for each in islice(_texts(modules, data), _MOST) if 0 < len(each) <= _LONGEST}
    if model in texts:
        return []
    folded = {each.casefold(): each for each in sorted(texts)}
    return [folded[each] for each in difflib.get_close_matches(model[:_LONGEST].casefold(), folded, cutoff=_CUTOFF)]


def with_model(document: Mapping[str, Any], model: str) -> dict[str, Any]:
    """An input document as if its call named another model."""
    resource = document["resource"]
    models = [model if each == resource["model"] else each for each in resource["models"]]
    return {**document, "resource": {**resource, "model": model, "models": models}}


def _texts(modules: Mapping[str, str], data: Any) -> Iterator[str]:
    for source in modules.values():
        for literal in _TEXT.findall(source):
            with suppress(ValueError):
                yield json.loads(literal)
    yield from _strings(data)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
