"""The longest input that models take, as their makers document it: a bound of whatever goes into one call to them.

A provider answers what is longer with an error, which costs nothing. If a maker sells a longer window as well, the
longest one counts. A model that is not here has no bound by this.

https://platform.openai.com/docs/models
https://docs.claude.com/en/docs/about-claude/models/overview, https://docs.claude.com/en/docs/build-with-claude/context-windows
https://ai.google.dev/gemini-api/docs/models
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

_DATE: Final = r"(?:-\d{4}-?\d{2}-?\d{2}|-latest|-\d{3})?"

_LONG_BETA: Final = "context-1m"  # with it, Claude Sonnet 4 and 4.5 have a longer one

_WINDOWS: Final = tuple(
    (re.compile(rf"(?:[a-z0-9-]+/)?(?:{names}){_DATE}", re.ASCII), tokens)
    for names, tokens in (
        (r"gpt-4o(?:-mini)?|chatgpt-4o|gpt-4-turbo", 128_000),
        (r"gpt-4\.1(?:-mini|-nano)?", 1_047_576),
        (r"o1|o1-pro|o3|o3-pro|o3-mini|o4-mini", 200_000),
        (r"gpt-5(?:\.1)?(?:-mini|-nano|-codex|-codex-mini|-chat)?", 400_000),
        (r"gpt-5\.2|gpt-5\.3-codex|gpt-5\.4-(?:mini|nano)", 400_000),
        (r"gpt-5\.[45]", 1_050_000),
        (r"claude-3(?:-[57])?-(?:haiku|sonnet|opus)|claude-(?:opus|sonnet)-4(?:-[015])?|claude-haiku-4-5", 200_000),
        (r"claude-(?:opus|sonnet)-4-6|claude-opus-4-[78]|claude-(?:opus|sonnet)-5", 1_000_000),
        (r"gemini-1\.5-pro", 2_097_152),
        (r"gemini-1\.5-flash(?:-8b)?|gemini-2\.(?:0|5)-(?:pro|flash|flash-lite)", 1_048_576),
        (r"gemini-3(?:\.1)?-(?:pro|flash|flash-lite)(?:-preview)?|gemini-3\.5-(?:flash|flash-lite)", 1_048_576),
    )
)


def window(models: Sequence[str], betas: Sequence[str] = ()) -> int | None:
    """The most input tokens of one call to any of these models; None if one of them is not known.

    `betas` are what the call switches on by a header.
    """
    if any(each.startswith(_LONG_BETA) for each in betas):
        return None if window(models) is None else 1_000_000
    found = [_of(each) for each in models]
    return None if not found or None in found else max(each for each in found if each is not None)


@functools.lru_cache(maxsize=1024)
def _of(model: str) -> int | None:
    return next((tokens for names, tokens in _WINDOWS if names.fullmatch(model)), None)
