"""A provider's export of what it has charged, read from CSV, and what of it differs from the log.

Columns are known by many names, among them those of the exports of OpenAI (usage, and costs by line item) and of
Anthropic (usage, and cost); columns with other names are not looked at. Amounts are dollars. Rows of one day and model
are added up. Models are compared by their price, so that an alias and the version it stands for are one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

from gateway.errors import GatewayError

_NANO = 10**9

# The first name that a file has counts; of those in one group all, added up.
_DATES = ("date", "usage_date_utc", "usage_date", "day", "start_time_iso", "start_time", "timestamp", "created")
_MODELS = ("model", "model_version", "model_id", "model_name", "snapshot_id", "line_item", "description")
_REQUESTS = (("requests",), ("num_model_requests",), ("num_requests",), ("n_requests",))
_INPUTS = (
    (
        "usage_input_tokens_no_cache",
        "usage_input_tokens_cache_write_5m",
        "usage_input_tokens_cache_write_1h",
        "usage_input_tokens_cache_read",
    ),
    ("input_tokens",),
    ("prompt_tokens",),
    ("n_context_tokens_total",),
)
_OUTPUTS = (("usage_output_tokens",), ("output_tokens",), ("completion_tokens",), ("n_generated_tokens_total",))
_COSTS = (("cost_usd",), ("cost",), ("amount_value",), ("amount",), ("total_cost",), ("cost_in_usd",))
_CURRENCIES = ("amount_currency", "currency")

COUNTS: Final = ("requests", "input", "output", "cost")


class InvoiceUnit(NamedTuple):
    """The unit for which two sums are compared. `day` is empty if the file has no days."""

    day: str
    model: str


@dataclass(slots=True)
class Charged:
    """The charge, or usage, of one day and model. A count that is not known is None; cost is nano-dollars."""

    requests: int | None = None
    input: int | None = None
    output: int | None = None
    cost: int | None = None

    def add(self, name: str, value: int) -> None:
        setattr(self, name, (getattr(self, name) or 0) + value)


@dataclass(frozen=True, slots=True)
class InvoiceDifference:
    """One count of one day and model that is not the same. A side that has nothing of the model is None."""

    place: InvoiceUnit
    what: str
    charged: int | None
    used: int | None


@dataclass(frozen=True, slots=True)
class Invoice:
    """A file, read: what was charged, which columns it has, and how many rows were of other months.

    `days` and `models` say whether the rows are of single ones: sums of all have an empty name.
    """

    charged: Mapping[InvoiceUnit, Charged]
    columns: Mapping[str, Sequence[str]]
    days: bool
    models: bool
    left_out: int


def read(raw: bytes, source: str, month: str, model_of: Callable[[str], str]) -> Invoice:
    """The rows of one month (`2026-11`). `model_of` gives the name under which a model is compared."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(source, "it is not UTF-8") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise _bad(source, f"line {reader.line_num}: {error}") from error
    if not rows:
        raise _bad(source, "it is empty")
    at = {_plain(name): index for index, name in reversed(list(enumerate(rows[0])))}
    columns = _columns(at, source)
    charged: dict[InvoiceUnit, Charged] = {}
    left_out = 0
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise _bad(source, f"row {number} has {len(row)} cells, the heading {len(rows[0])}")
        cells = {name: row[index].strip() for name, index in at.items()}
        place = f"row {number}"
        day = _day(cells[columns["date"][0]], source, place) if "date" in columns else ""
        if day and not day.startswith(month):
            left_out += 1
            continue
        _check_currency(cells, source, place)
        name = cells[columns["model"][0]]
        # A line item is a model and what was used of it: `gpt-4o-2024-08-06, input`.
        model = model_of(name.split(",")[0].strip()) if name else ""
        values = {what: [cells[each] for each in columns[what]] for what in COUNTS if what in columns}
        if not any(cell for each in values.values() for cell in each):
            continue  # a day without use
        one = charged.setdefault(InvoiceUnit(day, model), Charged())
        for what, given in values.items():
            one.add(what, sum(_number(each, what, source, place) for each in given))
    return Invoice(charged, columns, "date" in columns, any(place.model for place in charged), left_out)


def differences(
    invoice: Invoice, used: Mapping[InvoiceUnit, Charged], tolerance_nanousd: int
) -> list[InvoiceDifference]:
    """The differences, in the order of days and models. Costs may differ by the tolerance in each row."""
    found = []
    for place in sorted({*invoice.charged, *used}):
        theirs, ours = invoice.charged.get(place), used.get(place)
        for what in COUNTS:
            if what not in invoice.columns:
                continue
            charged = None if theirs is None else getattr(theirs, what)
            own = None if ours is None else getattr(ours, what)
            apart = abs((charged or 0) - (own or 0))
            if apart > (tolerance_nanousd if what == "cost" else 0):
                found.append(InvoiceDifference(place, what, charged, own))
    return found


def _columns(at: Mapping[str, int], source: str) -> dict[str, Sequence[str]]:
    """The meaning of the columns. Raises if there is no model, or nothing that could be compared."""
    found: dict[str, Sequence[str]] = {}
    for what, names in (("date", _DATES), ("model", _MODELS)):
        if (name := next((name for name in names if name in at), None)) is not None:
            found[what] = [name]
    for what, groups in (("requests", _REQUESTS), ("input", _INPUTS), ("output", _OUTPUTS), ("cost", _COSTS)):
        for group in groups:
            if known := [name for name in group if name in at]:
                found[what] = known
                break
    if "model" not in found:
        raise _bad(source, f"it has no column for the model: one of {', '.join(_MODELS)}")
    if not found.keys() & set(COUNTS):
        known = [name for groups in (_INPUTS, _OUTPUTS, _COSTS, _REQUESTS) for group in groups for name in group]
        raise _bad(source, f"it has no column for tokens, cost or requests: one of {', '.join(known)}")
    return found


def _plain(name: str) -> str:
    """A heading in lower case, with one `_` for whatever is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _day(text: str, source: str, place: str) -> str:
    """The day in UTC of a date, a time or seconds since 1970."""
    try:
        if re.fullmatch(r"[0-9]{9,11}(\.[0-9]+)?", text):
            return datetime.fromtimestamp(float(text), UTC).strftime("%Y-%m-%d")
        when = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError as error:
        raise _bad(source, f"{place}: `{text[:40]}` is not a date, such as 2026-11-28") from error
    return (when.astimezone(UTC) if when.tzinfo else when).strftime("%Y-%m-%d")


def _number(text: str, what: str, source: str, place: str) -> int:
    """A count, or an amount of dollars in nano-dollars."""
    plain = text.replace(",", "").replace("_", "").replace("$", "").strip()
    try:
        exact = Decimal(plain or "0") * (_NANO if what == "cost" else 1)
        if not exact.is_finite() or abs(exact) > 2**62:
            raise InvalidOperation
    except InvalidOperation as error:
        raise _bad(source, f"{place}: `{text[:40]}` is not a number") from error
    if what != "cost" and exact != exact.to_integral_value():
        raise _bad(source, f"{place}: `{text[:40]}` is not a whole number")
    return round(exact)


def _check_currency(cells: Mapping[str, str], source: str, place: str) -> None:
    for name in _CURRENCIES:
        if cells.get(name, "").lower() not in ("", "usd", "$"):
            raise _bad(source, f"{place}: the amount is in {cells[name][:20]}, only US dollars can be compared")


def total(places: Iterable[Charged], what: str) -> int:
    return sum(getattr(each, what) or 0 for each in places)


def _bad(source: str, why: str) -> GatewayError:
    return GatewayError(
        "invalid_invoice", f"{source}: {why}", subject=source, hint="see docs/how-to/operate/usage.md for the columns"
    )
