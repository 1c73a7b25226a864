"""`gateway usage reconcile`: a provider's invoice beside the log, and what does not match."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.asking import Everywhere
from gateway.errors import GatewayError, did_you_mean
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.management.client import AnswerDocument, ManagementClient
    from gateway.usage.invoices import Charged, Invoice, InvoiceDifference, InvoiceUnit

_MOST_BYTES = 256 * 1024 * 1024
_NANO = 10**9


def reconcile(
    ask: Everywhere,
    file: Annotated[Path, typer.Argument(help="The provider's export, a CSV file.")],
    provider: Annotated[str, typer.Option("--provider", help="What its upstreams were added as, such as openai.")],
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month to compare, in UTC.")],
    upstream: Annotated[
        list[str] | None, typer.Option("--upstream", metavar="NAME", help="Only what went to this upstream.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="DOLLARS", help="How far the costs of a row may be apart.")
    ] = 0.01,
) -> None:
    """Compare what a provider has charged with the log, by day and model. Exit code 1 if something does not match."""
    from gateway.usage import invoices

    if not re.fullmatch(r"2[0-9]{3}-(0[1-9]|1[0-2])", month):
        raise GatewayError("invalid_time", f"`{month}` is not a month", hint="write 2026-11")
    if not 0 <= tolerance < 1e6:
        raise GatewayError("invalid_option", "--tolerance must be an amount of dollars", hint="write 0.01")
    names = upstream or _upstreams(ask.data, provider)
    model_of = _models(ask.data, provider)
    invoice = invoices.read(_bytes(file), str(file), month, model_of)
    used = _used(ask.data, month, names, invoice, model_of)
    found = invoices.differences(invoice, used, round(tolerance * _NANO))
    if ask.as_json:
        typer.echo(json.dumps(_document(invoice, used, found), indent=2))
    else:
        _print(invoice, used, found, month, names)
    if found:
        raise typer.Exit(1)


def _upstreams(data: Path, provider: str) -> list[str]:
    """The names of the upstreams of a provider, in all organizations. One that was removed has its provider's name."""
    with gateways.client(data, output.warn) as gateway:
        organizations = [each["name"] for each in gateway.items("organizations")]
        found = [each for name in organizations for each in gateway.items("upstreams", organization=name)]
    names = sorted({each["name"] for each in found if each["provider"] == provider} | {provider})
    if names == [provider] and provider not in {each["provider"] for each in found}:
        known = sorted({each["provider"] for each in found})
        hint = did_you_mean(provider, known, "type `gateway upstreams list`; --upstream NAME means a removed one")
        raise GatewayError("unknown_provider", f"no upstream was added as `{provider}`", subject=provider, hint=hint)
    return names


def _models(data: Path, provider: str) -> Callable[[str], str]:
    """The name under which a model is compared: that of its entry in the table of prices, if it has one.

    The table is that of the data directory, or without one that of this package.
    """
    from gateway.settings import load_settings
    from gateway.usage import price_files
    from gateway.usage.prices import PriceTable

    here = gateways.chosen() is None
    found = price_files.newest(load_settings({"data": data}).data.price_table) if here else price_files.shipped()
    table = PriceTable(found.version, found.providers)  # without own prices, which may mean many models by one

    def model_of(name: str) -> str:
        found = table.model(provider, "", name, "")
        return name.lower() if found is None else found.id.rpartition("/")[2]

    return model_of


def _used(
    data: Path, month: str, upstreams: Collection[str], invoice: Invoice, model_of: Callable[[str], str]
) -> dict[InvoiceUnit, Charged]:
    """What the log says was used, by the same days and models as the invoice."""
    from gateway.usage.invoices import Charged, InvoiceUnit

    year, number = map(int, month.split("-"))
    since, until = f"{month}-01T00:00:00Z", f"{year + number // 12}-{number % 12 + 1:02}-01T00:00:00Z"
    by = ["day", "model", "response_model"]
    lines: list[AnswerDocument] = []
    with output.progress("adding up") as progress, gateways.client(data, output.warn, progress) as gateway:
        for each in dict.fromkeys(upstreams):
            lines += report(gateway, by, {"upstream": each}, since=since, until=until, zone="UTC")["items"]
    found: dict[InvoiceUnit, Charged] = {}
    for line in lines:
        day, model, response_model = line["key"]
        counts = line["counts"]
        if not (counts.input or counts.output or counts.cost_nanousd):
            continue  # what was not charged is in no invoice
        named = model_of(response_model or model) if invoice.models else ""
        one = found.setdefault(InvoiceUnit(day if invoice.days else "", named), Charged())
        for what, value in (
            ("requests", counts.requests),
            ("input", counts.input),
            ("output", counts.output),
            ("cost", counts.cost_nanousd),
        ):
            one.add(what, value)
    return found


def report(
    gateway: ManagementClient, by: Sequence[str], only: Mapping[str, str], **asked: str | None
) -> AnswerDocument:
    """The sums of what was used, the counts of each line as they are added up."""
    from gateway.usage.totals import UsageCounts

    found = gateway.get("usage", by=",".join(by), **asked, **only)
    return found | {
        "items": [each | {"counts": documents.record(UsageCounts, each["counts"])} for each in found["items"]]
    }


def _bytes(path: Path) -> bytes:
    raw = files.read(path, _MOST_BYTES + 1, code="invalid_invoice", hint="check the path")
    if len(raw) > _MOST_BYTES:
        raise GatewayError("invalid_invoice", f"{path} has more than {_MOST_BYTES} bytes", hint="split it by months")
    return raw


# ---- how it is shown


def _shown(what: str, value: int | None) -> str:
    from gateway.usage.prices import dollars

    if value is None:
        return "nothing"
    if what != "cost":
        return f"{value:,}"
    return dollars(value) if value >= 0 else f"-{dollars(-value)}"


def _document(invoice: Invoice, used: dict[InvoiceUnit, Charged], found: list[InvoiceDifference]) -> dict[str, Any]:
    from gateway.usage.invoices import COUNTS, total

    def number(what: str, value: int | None) -> int | None:
        return value if value is None or what != "cost" else round(value / 1000)

    def totals(places: Collection[Charged]) -> dict[str, int | None]:
        return {_MEMBERS[what]: number(what, total(places, what)) for what in COUNTS if what in invoice.columns}

    return {
        "matches": not found,
        "charged": totals(list(invoice.charged.values())),
        "used": totals(list(used.values())),
        "differences": [
            {
                "day": each.place.day or None,
                "model": each.place.model,
                "what": _MEMBERS[each.what],
                "charged": number(each.what, each.charged),
                "used": number(each.what, each.used),
            }
            for each in found
        ],
    }


_MEMBERS = {"requests": "requests", "input": "input", "output": "output", "cost": "cost_microusd"}


def _print(
    invoice: Invoice,
    used: dict[InvoiceUnit, Charged],
    found: list[InvoiceDifference],
    month: str,
    upstreams: Collection[str],
) -> None:
    from gateway.usage.invoices import COUNTS, total

    output.note(f"{month}, upstreams {', '.join(upstreams)}; compared: {', '.join(_read_as(invoice))}")
    if invoice.left_out:
        output.note(f"{invoice.left_out:,} rows are of other months")
    if found:
        output.print_table(
            ("DAY", "MODEL", "WHAT", "CHARGED", "IN THE LOG", "DIFFERENCE"),
            [
                (
                    each.place.day,
                    output.printable(each.place.model),
                    each.what,
                    _shown(each.what, each.charged),
                    _shown(each.what, each.used),
                    _shown(each.what, (each.charged or 0) - (each.used or 0)),
                )
                for each in found
            ],
            empty="",
        )
    for what in COUNTS:
        if what in invoice.columns:
            charged, own = total(invoice.charged.values(), what), total(used.values(), what)
            typer.echo(f"{what}: {_shown(what, charged)} charged, {_shown(what, own)} in the log")
    typer.echo("everything matches" if not found else f"{len(found)} do not match")


def _read_as(invoice: Invoice) -> list[str]:
    return [f"{what} ({' + '.join(columns)})" for what, columns in invoice.columns.items()]
