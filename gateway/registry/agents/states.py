"""The states of an agent, and which may follow which (agents.md).

    active ⇄ suspended        refused for now, with the same keys and bindings afterwards
    both → revoked            ended by force: its keys are revoked with it
    both → retired            ended because its work is done: its keys are revoked with it

An agent that is revoked or retired stays in the registry as it was. Its name becomes free; that of a revoked one is
given again only to whoever says that it is meant (`agent_versions.check_return`).
"""

from __future__ import annotations

from typing import Final

from gateway.errors import ConflictError, GatewayError, Hint

TRANSITIONS: Final[dict[str, tuple[str, ...]]] = {
    "active": ("suspended", "revoked", "retired"),
    "suspended": ("active", "revoked", "retired"),
    "revoked": (),
    "retired": (),
}

STATES: Final = tuple(TRANSITIONS)

ENDED: Final = tuple(state for state, following in TRANSITIONS.items() if not following)
"""The states that nothing follows. Such an agent has no authority, and another may have its name."""


VERBS: Final = {"active": "resumed"}
"""The name of a change that leads to a state, where it is not that of the state; of teams and organizations, too."""


def check_transition(name: str, identifier: str, before: str, after: str) -> None:
    """Raise unless an agent of this name may go from one state to the other."""
    if after not in TRANSITIONS[before]:
        raise ended(name, identifier, before)


def ended(name: str, identifier: str, state: str) -> GatewayError:
    """The error for a change that only an agent which has not ended can have."""
    meant = " with --replace-revoked" if state == "revoked" else ""
    instead = f"a {state} agent cannot come back: register another one, which may have the same name"
    hint = Hint(f"{instead}{meant}", api=instead)
    return ConflictError(f"agent_{state}", f"agent `{name}` is {state}", subject=identifier, hint=hint)
