"""Commands that remarks and hints name, so that they can be copied: with the options that say which server is meant.

A server of `AIG_SERVER` needs none. Commands that work on the gateway's own machine only stay as they are.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.cli import remote
from gateway.management import gateways

_NAME_IT: Final = {"login", "logout", "whoami", "keys pattern", "keys prove"}
"""Commands whose own option says the server, or that need none."""
_COMMAND: Final = re.compile(r"`gateway ([^`]+)`")


def copyable(text: str) -> str:
    """The text with `gateway --server URL …` where it says `gateway …`, if the server was named by an option."""
    server = gateways.chosen()
    if server is None or not server.named:
        return text
    return _COMMAND.sub(lambda found: f"`gateway {server.named} {found[1]}`" if _remote(found[1]) else found[0], text)


def _remote(command: str) -> bool:
    words = command.split()
    begins = {" ".join(words[:count]) for count in (1, 2)}
    return "--help" not in words and not begins & (remote.ONLY_HERE | remote.NO_DIRECTORY | _NAME_IT)
