"""`gateway top`: what the running gateway is doing, refreshed every second."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from rich.console import Group

    from gateway.processes.load import Load

_STATES = {"ok": "green", "failing": "yellow", "open": "red", "unused": "dim"}
_ROOM = 12  # lines besides the rows of agents and upstreams

Every = Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.1, max=60, help="How often to look.")]
Once = Annotated[bool, typer.Option("--once", help="Show what happens within that time, once.")]


def top(data: Data = DATA, every: Every = 1.0, once: Once = False, as_json: Json = False) -> None:
    """Show agents, upstreams and the log of the running gateway, live: rates, tokens, cost, refusals, latencies.

    Rates are of the time between two looks, sums since the gateway was started. Without a terminal, and with --json,
    it is shown once. Ctrl-C ends it.
    """
    from gateway.processes import load
    from gateway.registry.database import Registry
    from gateway.settings import load_settings

    directory = load_settings({"data": data}).data
    registry = Registry.open(directory)
    try:
        _check_running(data)
        before = load.look(directory)
        if once or as_json or not sys.stdout.isatty():
            time.sleep(every)
            found = load.between(directory, registry, before, load.look(directory))
            if as_json:
                output.print_json(found)
            else:
                from rich.console import Console

                Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(frame(found, 1000))
            return
        from rich.live import Live

        with output.whole_screen(), Live(screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                _check_running(data)
                now = load.look(directory)
                found = load.between(directory, registry, before, now)
                live.update(frame(found, live.console.height), refresh=True)
                before = now
    except KeyboardInterrupt:
        return
    finally:
        registry.close()


def _check_running(data: Data) -> None:
    from gateway.settings import load_settings
    from gateway.storage import liveness

    if liveness.running(load_settings({"data": data}).data) is None:
        raise GatewayError("not_running", "no gateway is running there", hint="start it with `gateway up`")


def frame(found: Load, height: int) -> Group:
    """One picture, at most `height` lines high."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Text(
        f"{output.timestamp(found.time_ns)}  workers {found.workers}  {found.requests_per_second:g} requests/s  "
        f"{found.requests_in_flight} in flight  added {_ms(found.added_latency_seconds)}  "
        f"policy {_ms(found.policy_seconds)}"
    )
    log = Text(
        f"log: commit {_ms(found.commit_seconds)}, {found.entries_per_commit or 0:.1f} entries each, "
        f"{found.waiting_entries} waiting; {found.held_bytes / 1e6:.1f} MB of bodies held"
    )
    several = len({each.organization for each in found.agents if each.organization}) > 1
    agents = Table("agent", title="agents", title_justify="left", box=None)
    for name in ("req/s", "tokens/s", "requests", "denied", "refused", "failed", "tokens", "cost"):
        agents.add_column(name, justify="right")
    room = max(1, height - _ROOM - len(found.upstreams))
    for each in found.agents[:room]:
        name = f"{each.organization}/{each.name}" if several and each.organization else each.name
        agents.add_row(
            Text(output.printable(name)),
            *(f"{each.requests_per_second:g}", f"{each.tokens_per_second:g}", f"{each.requests:,}"),
            *(
                f"{each.denied:,}",
                f"{each.refused:,}",
                f"{each.failed:,}",
                f"{each.tokens:,}",
                f"${each.cost_usd:,.4f}",
            ),
        )
    if len(found.agents) > room:
        agents.add_row(f"… {len(found.agents) - room} more")
    upstreams = Table("upstream", "state", title="upstreams", title_justify="left", box=None)
    for name in ("calls/s", "calls", "failures", "first byte", "whole call"):
        upstreams.add_column(name, justify="right")
    upstreams.add_column("last error")
    for one in found.upstreams:
        name = f"{one.organization}/{one.name}" if several else one.name
        upstreams.add_row(
            Text(output.printable(name)),
            Text(one.state, style=_STATES[one.state]),
            *(f"{one.calls_per_second:g}", f"{one.calls:,}", f"{one.failures:,}"),
            *(_ms(one.first_byte_seconds), _ms(one.call_seconds)),
            Text(output.printable(one.last_error)[:60]),
        )
    return Group(head, log, Text(), agents, Text(), upstreams)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"
