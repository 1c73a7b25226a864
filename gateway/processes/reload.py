"""The settings that a running gateway can take on, and the process that they concern."""

from __future__ import annotations

import logging
from dataclasses import replace

from gateway.settings import SCHEMA, Settings, check_bind

logger = logging.getLogger("gateway.processes.reload")

FIXED = ("data", "host", "port", "control_host", "control_port", "insecure")
"""The settings that are fixed when the gateway starts: where its state is, and the addresses that it listens on."""

_OF_WORKERS = (
    *("workers", "policy_deadline_ms", "log_requests", "max_requests", "max_held_bytes", "max_body_bytes"),
    *("max_spooled_bytes", "max_connections", "body_rate", "stall_timeout"),
    *("upstream_", "breaker_", "otel_", "tls_key", "client_ca"),
)

CERTIFICATES = "tls_key and its certificates, as they are in the files now"
"""Stands among the names of settings that have changed."""


def settle(before: Settings, now: Settings, in_force: Settings) -> tuple[Settings, Settings]:
    """The settings as they were read now, and those to put into force; says what cannot be changed.

    `before` is what was read the last time. `in_force` differs from it in what was settled at the start, as ports are.
    Raises `GatewayError` if TLS would end on an address that stays open to a network.
    """
    changed = [name for name in FIXED if getattr(now, name) != getattr(before, name)]
    if changed:
        names = ", ".join(f"`{name}`" for name in changed)
        logger.warning("%s cannot change while the gateway runs: restart it for that", names)
    kept = {name: getattr(before, name) for name in FIXED}
    settings = replace(now, **{name: getattr(in_force, name) for name in FIXED})
    # The settings that were read are sound with their own address; with the one that stays they may not be.
    check_bind(settings)
    return replace(now, **kept), settings


def differences(before: Settings, now: Settings) -> list[str]:
    """The names of the settings that differ."""
    return [name for name in SCHEMA if getattr(before, name) != getattr(now, name)]


def concern_control(names: list[str]) -> bool:
    """True if a change of these settings concerns the control process."""
    return any(not name.startswith(_OF_WORKERS) for name in names)
