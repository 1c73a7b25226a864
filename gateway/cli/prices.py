"""`gateway prices`: what models cost, by the table and by an operator's own prices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.audit.log_files import log_directory, opened_log
from gateway.cli import output
from gateway.cli.asking import App, Everywhere, Of
from gateway.management import documents
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.audit.log_reader import IndexedLog
    from gateway.settings import Settings
    from gateway.usage.prices import Price
    from gateway.usage.rollup import Rollup

app = App(no_args_is_help=True, help="Show, check and update what models cost.")

_COLUMNS = ("INPUT", "CACHED", "CACHE WRITE", "OUTPUT", "OTHER")
_NOTE = "dollars for a million tokens; the table is {version}"


@app.command("list")
def list_prices(
    ask: Everywhere,
    provider: Annotated[
        str | None, typer.Argument(help="The provider whose models are listed; all providers otherwise.")
    ] = None,
) -> None:
    """List the providers of the table, or the models of one with the prices that are in force now."""
    from gateway.usage import price_documents

    path = "providers" if provider is None else "models"
    with ask.gateway() as gateway:
        body = gateway.get("prices", path, provider=provider)
    if provider is None:
        ask.table(
            body["items"],
            *("PROVIDER", "MODELS", ("ALSO THOSE OF", "also")),
            empty="the table is empty",
            document={"version": body["version"], "providers": body["items"]},
        )
        if not ask.as_json:
            output.note(f"the table is {body['version']}; `gateway prices list PROVIDER` shows prices")
        return
    found = [(each["model"], price_documents.price(each)) for each in body["items"]]
    if ask.as_json:
        shown = [{"model": name, **price_documents.document(price)} for name, price in found]
        typer.echo(json.dumps(shown, indent=2))
        return
    rates = [(name, *_cells(price)) for name, price in found]
    output.print_table(("MODEL", *_COLUMNS), rates, empty="none of its own")
    if body["also"]:
        output.note(f"also the models of {', '.join(body['also'])}")
    output.note(_NOTE.format(version=body["version"]))


@app.command()
def show(
    ask: Of,
    model: Annotated[str, typer.Argument(help="A model's name, as requests or answers have it.")],
    upstream: Annotated[
        str | None, typer.Option("--upstream", help="Only at this upstream; at all of the organization otherwise.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="The prices at this time; now otherwise.")
    ] = None,
) -> None:
    """Show what a model costs at each upstream, and by which entry of which table."""
    from gateway.usage import price_documents

    when = None if at is None else documents.time_text(output.parse_time(at))
    with ask.gateway() as gateway:
        body = gateway.get("prices", organization=ask.organization, model=model, upstream=upstream, at=when)
    found = [(each["at"], price_documents.price(each)) for each in body["items"]]
    if ask.as_json:
        shown = [{"at": name, **price_documents.document(price)} for name, price in found]
        typer.echo(json.dumps(shown, indent=2))
        return
    output.print_table(
        ("AT", *_COLUMNS, "ENTRY"),
        [(name, *_cells(price), price.name) for name, price in found],
        empty="no prices",
    )
    for name, price in found:
        for line in _more(price):
            output.note(f"{name}: {line}")
    output.note("dollars for a million tokens")


@app.command()
def update(ask: Everywhere) -> None:
    """Make a new table from the installed package `genai-prices`. Running gateways read it within seconds.

    An operator's own prices stay as they are, and come first.
    """
    import hashlib

    from gateway.registry.prices import record_update
    from gateway.usage import price_files, refresh

    settings = _settings(ask.data)
    document, left_out = refresh.table()
    raw = refresh.dump(document)
    price_files.read(raw, "the new table")  # what could not be read back must not replace anything
    path = settings.data.price_table
    before = price_files.newest(path).version
    updated = before != document["version"]
    if updated:
        with local.changing(ask.data) as registry, price_files.replacing(path, raw):
            record_update(
                registry,
                actor=local.actor(),
                before=before,
                version=document["version"],
                source=document["source"],
                digest=hashlib.sha256(raw).hexdigest(),
            )
    if ask.as_json:
        shown = {"updated": updated, "before": before, "version": document["version"], "left_out": left_out}
        typer.echo(json.dumps(shown, indent=2))
        return
    if updated:
        typer.echo(f"the table is {document['version']} now; it was {before}")
    else:
        typer.echo(f"the table is {before}, which is what the installed genai-prices has")
        output.note("a newer one: `pip install --upgrade genai-prices`, then this again")
    for line in left_out if updated else ():
        output.note(f"without a price: {line}")


@app.command()
def check(
    ask: Everywhere,
    file: Annotated[
        Path | None, typer.Argument(help="A file with your own prices; by default the one that is in force.")
    ] = None,
) -> None:
    """Check a file with your own prices, and name what was called this month without a price.

    Exit code 1 if the file cannot be used.
    """
    from gateway.usage import price_files

    settings = _settings(ask.data)
    table = price_files.newest(settings.data.price_table)
    path = file or settings.own_prices
    if file is None and settings.prices_file is None and not path.exists():
        found: dict[str, Any] = {"table": table.version, "own": None}
    else:
        own = price_files.own_prices(path, table)
        lists = {f"provider {name}": each for name, each in own.providers.items()}
        lists |= {f"upstream {name}": each for name, each in own.upstreams.items()}
        for organization, one in own.organizations.items():
            lists |= {f"provider {name} of {organization}": each for name, each in one.providers.items()}
            lists |= {f"upstream {name} of {organization}": each for name, each in one.upstreams.items()}
        prices = {where: [model.id.rpartition("/")[2] for model in each.models] for where, each in lists.items()}
        tools = {where: list(each.tools) for where, each in lists.items() if each.tools}
        said = {"file": str(path), "version": own.version, "prices": prices, "tools": tools}
        found = {"table": table.version, "own": said}
    found["unpriced"] = _unpriced(ask.data)
    if ask.as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(f"the table {table.version} of {table.date} ({table.source})")
    if found["own"] is None:
        output.note(f"no prices of your own: they would be in {path}")
    else:
        typer.echo(f"{path} is {found['own']['version']}")
        for where, names in found["own"]["prices"].items():
            named = [*names, *(f"the tool {each}" for each in found["own"]["tools"].get(where, ()))]
            typer.echo(f"  {output.printable(where)}: {output.printable(output.names(named, 'nothing'))}")
    for each in found["unpriced"]:
        called = f"{each['model'] or 'no model'} at {each['upstream']} of {each['organization']}"
        typer.echo(f"without a price this month: {output.printable(called)}, {each['requests']:,} requests")


# ---- parts


def _settings(data: Path) -> Settings:
    from gateway.settings import load_settings

    settings = load_settings({"data": data})
    settings.data.check()
    return settings


def _unpriced(data: Path) -> list[dict[str, Any]]:
    """What was called this month and used tokens that no price was known for."""
    from gateway.usage.usage_report import UsageQuestion, answer, begin

    now = output.now_ns()
    by = ("organization", "upstream", "model")
    with _sums(data) as (log, rollup):
        rows = answer(UsageQuestion(begin(now, "month", UTC), now + 1, by, {}), rollup, log)
    return [
        {**dict(zip(by, row.key, strict=True)), "requests": row.counts.requests}
        for row in rows
        if not row.counts.priced and (row.counts.input or row.counts.output or row.counts.seconds or row.counts.images)
    ]


def _cells(price: Price) -> tuple[str, ...]:
    from gateway.usage.price_documents import amount, factor, pieces

    rates = price.rates
    parts = dict((*rates.input_parts, *rates.output_parts))
    cached, written = (amount(parts.pop(name)) if name in parts else "" for name in ("cached", "cache_write"))
    other = [f"{name} {amount(rate)}" for name, rate in parts.items()]
    if rates.cache_write_1h is not None:
        other.append(f"cache_write_1h {amount(rates.cache_write_1h)}")
    other += [f"{name} {amount(rate)}" for name, rate in pieces(rates).items()]
    other += [f"{name} {amount(rate)} a use" for name, rate in price.tools.items()]
    other += [f"{name} × {factor(times)}" for name, times in price.regions.items()]
    if price.above:
        other.append(f"dearer above {price.above[-1][0]:,}")
    if price.service_tiers:
        other.append(f"{', '.join(price.service_tiers)} differ")
    return amount(rates.input), cached, written, amount(rates.output), ", ".join(other)


def _more(price: Price) -> list[str]:
    """The rates of a price that apply to some calls only."""
    from gateway.usage.price_documents import amount

    lines = []
    for name, each in (("", price), *price.service_tiers.items()):
        steps = [(0, each.rates)] if name else []
        for start, rates in [*steps, *reversed(each.above)]:
            when = " and ".join(filter(None, (name, f"above {start:,} tokens of input" if start else "")))
            shown = {
                "input": rates.input,
                "output": rates.output,
                **dict(rates.input_parts),
                **dict(rates.output_parts),
            }
            lines.append(f"{when}: " + ", ".join(f"{what} {amount(rate)}" for what, rate in shown.items()))
    return lines


@contextmanager
def _sums(data: Path) -> Iterator[tuple[IndexedLog, Rollup]]:
    """The log of a data directory and the sums over it, up to date."""
    from gateway.usage.rollup import opened

    directory = log_directory(data)
    with opened_log(directory) as log, log.snapshot(), ExitStack() as stack:
        with output.progress("adding up") as progress:
            rollup = stack.enter_context(opened(directory.cache, log, progress))
        yield log, rollup
