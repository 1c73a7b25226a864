"""A recorded decision, judged by other revisions of its bundles: what would they have said, and why?

The bundles may be of a commit that nobody has checked, so they are compiled and asked in a child process with limits on
time and memory (`child.py`), each from a directory that is gone afterwards. The judge is that of `reexecution.py`, with
the recorded input, clock and seed. `python -m gateway.policy.rollout.retrial` is the child.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError, Hint
from gateway.identity.principals import Effect
from gateway.policy import bundle as policy_bundle
from gateway.policy import reexecution
from gateway.policy.bundle import Files
from gateway.policy.judged_again import JudgedAgain, judged_again
from gateway.policy.rollout import child

SECONDS: Final = 60.0
_MODULE: Final = "gateway.policy.rollout.retrial"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedBundle:
    """A bundle as another commit has it, in the place of the one that judged."""

    name: str
    commit: str
    effect: Effect
    files: Files


def judge(
    members: Sequence[TriedBundle],
    entry: Mapping[str, Any],
    document: Mapping[str, Any] | None,
    filled: Mapping[str, Any] | None,
    *,
    explained: bool = False,
) -> JudgedAgain:
    """The verdict of these bundles on a recorded decision. Blocks; raises `GatewayError` if there is none in time.

    `document` is the input as it is kept, and `filled` the same with the kept request. That one decides; rules and
    their values are explained without it, because what was said is not for showing.
    """
    order = {
        "members": [
            {
                **{name: getattr(each, name) for name in ("name", "commit", "effect")},
                "files": {path: base64.b64encode(content).decode() for path, content in each.files.items()},
            }
            for each in members
        ],
        "entry": dict(entry),
        "document": document,
        "filled": filled if filled is not document else None,
        "explained": explained,
    }
    try:
        found = child.run(_MODULE, order, seconds=SECONDS, stop=None)
        return JudgedAgain(**found)
    except child.ChildError as error:
        message = f"the decision could not be judged by these bundles: it {error.message}"
        raise GatewayError(
            "retrial_failed", message, hint=Hint("check the commit: `gateway policies check`")
        ) from error


def _judged(order: dict[str, Any], directory: Path) -> JudgedAgain:
    members = []
    for each in order["members"]:
        files = {path: base64.b64decode(text) for path, text in each["files"].items()}
        digest = policy_bundle.publish(directory, files)
        members.append({"name": each["name"], "digest": digest, "commit": each["commit"], "effect": each["effect"]})
    entry = order["entry"] | {"bundles_json": json.dumps(members)}
    explained, filled = order["explained"], order["filled"]
    again = judged_again(
        reexecution.judge_again(directory, entry, order["document"]), explained=explained, sources=explained
    )
    if filled is None:
        return again
    whole = judged_again(reexecution.judge_again(directory, entry, filled))
    return dataclasses.replace(whole, bundles=again.bundles) if explained else whole


def _main() -> None:
    seconds = int(SECONDS) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (child.MEMORY, child.MEMORY))
    order = json.loads(sys.stdin.buffer.read())
    with tempfile.TemporaryDirectory() as directory:
        found = _judged(order, Path(directory))
    sys.stdout.write(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    _main()
