"""Claims of rules, as commands take and print them: `--claim NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.errors import GatewayError


def read(given: Sequence[str], example: str) -> dict[str, str]:
    """The claims by their names. Raises `invalid_claim`, with the `example` as a hint, or for one that comes twice."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            hint = f"write it as --claim {example}"
            raise GatewayError("invalid_claim", f"`{text[:80]}` is not a claim and its value", hint=hint)
        if name in found:
            what = f"claim `{name[:80]}` is named twice, and a token has it once"
            raise GatewayError("invalid_claim", what, hint="make two rules, of which one is enough")
        found[name] = value
    return found


def shown(claims: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in claims.items())
