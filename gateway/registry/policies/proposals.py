"""A change of policies that somebody proposes: its entry in the log. The change itself is a branch in git."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.registry import names, outbox
from gateway.registry.database import Registry


def propose(
    registry: Registry,
    *,
    actor: str,
    branch: str,
    commit: str,
    base: str,
    files: Sequence[str],
    message: str,
    make: Callable[[], None],
) -> None:
    """Put a proposal on record and make it, both or neither: `make` sets the branch, or raises.

    It belongs to the deployment, so its entry goes to that log.
    """
    with registry.write() as session:
        fields = {
            "branch": branch,
            "commit": commit,
            "base": base,
            "files_json": outbox.document(list(files)),
            "message": names.check_text("message", message.partition("\n")[0][:200]),
        }
        outbox.add_change(session, None, actor, "policies.proposed", fields)
        make()
