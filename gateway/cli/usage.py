"""`gateway usage`: how much was used and what it cost, by whom, of what and when."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output, usage_reconcile
from gateway.cli.asking import App
from gateway.cli.options import DATA, Data
from gateway.errors import GatewayError, did_you_mean
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.usage.totals import UsageCounts

app = App(invoke_without_command=True, help="Show how much was used and what it cost.")
app.command("reconcile")(usage_reconcile.reconcile)

_FORMATS = ("table", "json", "csv")
_WORDS = {"organization": "org", "response_model": "answered by"}
_CHARTS = ("cost", "tokens", "requests")
_BAR = 40

By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="A,B",
        help="What to add up by: agent, team, organization, model, response_model, upstream, provider, and minute, "
        "hour, day, month.",
    ),
]
Filter = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NAME=VALUE", help="Only of this agent, team, model, …: `--only team=research`."),
]
Zone = Annotated[
    str | None,
    typer.Option(
        "--zone",
        metavar="ZONE",
        help="The zone of days and months, such as Europe/Berlin; by default that of the organization.",
    ),
]


@app.callback()
def usage(
    context: typer.Context,
    by: By = "agent,model",
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="From this time on: 2026-11-25, 2026-11-25T14:00:00Z, or an age, 7d; by default from this month on.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="The minute, hour, day and month of this time, up to it."),
    ] = None,
    only: Filter = None,
    zone: Zone = None,
    format_: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    chart: Annotated[
        str | None, typer.Option("--chart", metavar="WHAT", help="Bars instead of columns: cost, tokens or requests.")
    ] = None,
    data: Data = DATA,
) -> None:
    """Add up the calls that have ended: requests, tokens, sound, images and cost.

    A call counts when its end is recorded. Nothing is kept but a cache of sums, which can be deleted at any time.
    """
    if context.invoked_subcommand is not None:
        return
    _one_of("--format", format_, _FORMATS)
    if chart is not None:
        _one_of("--chart", chart, _CHARTS)
    columns = _by(by)
    if at is not None and (since is not None or until is not None):
        raise GatewayError("invalid_time", "--at excludes --since and --until", hint="leave them out")
    times = {"since": _time(since), "until": _time(until), "at": _time(at)}
    with output.progress("adding up") as progress, gateways.client(data, output.warn, progress) as gateway:
        found = usage_reconcile.report(gateway, columns, _only(only), zone=zone, **times)
    lines, span = found["items"], f"from {found['from']} to {found['to']}"  # before anything is printed
    if found["zones"] != 1:
        output.note(f"organizations have {found['zones']} zones: days and months are those of UTC, or of `--zone`")
    shown = (["window", "from"] if at is not None else []) + columns
    records = [[*([each["window"], each["from"]] if at is not None else []), *each["key"]] for each in lines]
    counts = [each["counts"] for each in lines]
    if format_ == "json":
        ids = [each["agent_id"] for each in lines]
        typer.echo(json.dumps([_document(shown, *each) for each in zip(records, counts, ids, strict=True)], indent=2))
    elif format_ == "csv":
        _print_csv(shown, records, counts)
    elif chart is not None:
        _print_chart(chart, records, counts)
    else:
        _print_table(shown, records, counts, totals=at is None)
    if format_ == "table" and at is None:
        output.note(span)


# ---- what is asked


def _one_of(option: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise GatewayError(
            "invalid_option", f"{option} must be one of {', '.join(known)}", hint=did_you_mean(given, known)
        )


def _time(text: str | None) -> str | None:
    """A time as it was given, whose zone may be that of the days; an age such as `7d` becomes a time."""
    if text is None:
        return None
    time_ns = output.parse_past(text)
    try:
        output.parse_time(text)
    except GatewayError:
        return output.timestamp(time_ns)
    return text


def _by(text: str) -> list[str]:
    from gateway.control import usage_reports

    found = [each.strip().replace("-", "_") for each in text.split(",") if each.strip()]
    usage_reports.check_by(found, "--by")
    return found


def _only(given: Sequence[str] | None) -> dict[str, str]:
    from gateway.usage.usage_report import DIMENSIONS

    found = {}
    for each in given or ():
        name, mark, value = each.partition("=")
        name = name.strip().replace("-", "_")
        if not mark or name not in DIMENSIONS:
            close = [] if name in DIMENSIONS else DIMENSIONS
            hint = did_you_mean(name, close, f"write NAME=VALUE, with one of {', '.join(DIMENSIONS)}")
            raise GatewayError("invalid_option", f"--only: `{each}` is no NAME=VALUE that is known", hint=hint)
        found[name] = value
    return found


# ---- how it is shown


def _document(names: Sequence[str], record: Sequence[str], counts: UsageCounts, agent: str | None) -> dict[str, Any]:
    document: dict[str, Any] = dict(zip(names, record, strict=True))
    if agent is not None:
        document["agent_id"] = agent
    return document | _numbers(counts)


def _numbers(counts: UsageCounts) -> dict[str, int]:
    found = counts._asdict()
    cost = found.pop("cost_nanousd")
    return {**found, "cost_microusd": -(-cost // 1000)}


def _print_csv(names: Sequence[str], records: Sequence[Sequence[str]], counts: Sequence[UsageCounts]) -> None:
    from gateway.usage.spreadsheets import text_cell
    from gateway.usage.totals import ZERO

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*names, *_numbers(ZERO)])
    for record, each in zip(records, counts, strict=True):
        writer.writerow([*map(text_cell, record), *_numbers(each).values()])


_ALWAYS = ("requests", "input", "output")


def _print_table(
    names: Sequence[str], records: Sequence[Sequence[str]], counts: Sequence[UsageCounts], *, totals: bool
) -> None:
    from gateway.usage.prices import dollars
    from gateway.usage.totals import ZERO

    total = ZERO
    for each in counts:
        total = total.plus(each)
    members = [
        name
        for name in total._fields
        if name not in ("priced", "cost_nanousd") and (name in _ALWAYS or getattr(total, name))
    ]
    heads = [*(name.replace("_", " ").upper() for name in members), "COST"]

    def numbers(each: UsageCounts) -> list[str]:
        return [*(f"{getattr(each, name):,}" for name in members), dollars(each.cost_nanousd)]

    lines = [(*map(output.printable, record), *numbers(each)) for record, each in zip(records, counts, strict=True)]
    if totals and len(lines) > 1 and names:
        lines.append(("total", *[" "] * (len(names) - 1), *numbers(total)))
    widths = [max(len(line[at]) for line in [*lines, (*names, *heads)]) for at in range(len(names) + len(heads))]
    right = range(len(names), len(widths))
    lines = [tuple(cell.rjust(widths[at]) if at in right else cell for at, cell in enumerate(line)) for line in lines]
    heads = [head.rjust(width) for head, width in zip(heads, widths[len(names) :], strict=True)]
    output.print_table([*(_WORDS.get(name, name).upper() for name in names), *heads], lines, empty="nothing was used")
    unknown = total.requests - total.priced
    if unknown:
        output.note(
            f"{unknown:,} of {total.requests:,} requests have no cost: nothing was reported that is charged for, or "
            "the model has no price: `gateway prices show MODEL` tells"
        )


def _print_chart(what: str, records: Sequence[Sequence[str]], counts: Sequence[UsageCounts]) -> None:
    """A bar for each row, as long as its share of the largest."""
    from gateway.usage.prices import dollars

    values = [
        each.cost_nanousd if what == "cost" else each.requests if what == "requests" else each.input + each.output
        for each in counts
    ]
    shown = [dollars(value) if what == "cost" else f"{value:,}" for value in values]
    labels = [output.printable("  ".join(cell or "-" for cell in record)) for record in records]
    if not records:
        output.note("nothing was used")
        return
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(width=_BAR)
    grid.add_column(justify="right", no_wrap=True)
    largest = max([*values, 1])
    for label, value, text in zip(labels, values, shown, strict=True):
        grid.add_row(Text(label), Bar(largest, 0, value, width=_BAR, color="green"), Text(text))
    width = None if sys.stdout.isatty() else max(map(len, labels)) + _BAR + max(map(len, shown)) + 4
    Console(width=width, highlight=False).print(grid)
