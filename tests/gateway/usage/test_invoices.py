"""A provider's export beside the log: which columns are read, and what does not match."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.usage.invoices import Charged, InvoiceDifference, InvoiceUnit, differences, read

# As OpenAI exports usage, and costs by line item; as Anthropic exports usage.
OPENAI_USAGE = """\
start_time,end_time,start_time_iso,project_id,num_model_requests,model,batch,input_tokens,output_tokens,input_cached_tokens
1793491200,1793577600,2026-11-01T00:00:00+00:00,proj_1,3,gpt-4o-2024-08-06,false,1000,50,200
1793491200,1793577600,2026-11-01T00:00:00+00:00,proj_2,1,gpt-4o-2024-08-06,false,10,5,0
1793577600,1793664000,2026-11-02T00:00:00+00:00,,,,,,,
1796083200,1796169600,2026-12-01T00:00:00+00:00,proj_1,9,gpt-4o-2024-08-06,false,9,9,9
"""
OPENAI_COSTS = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id
1793491200,1793577600,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,0.002525000,usd,"gpt-4o-2024-08-06, input",p
1793491200,1793577600,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,0.00055,usd,"gpt-4o-2024-08-06, output",p
"""
ANTHROPIC_USAGE = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens
2026-11-01 10:00,claude-sonnet-4-5-20250929,k,w,message,≤ 200k,100,20,3,4000,50
"""


def rows(text: str, month: str = "2026-11") -> dict[InvoiceUnit, Charged]:
    return dict(read(text.encode(), "invoice.csv", month, str.lower).charged)


def test_an_export_of_openais_usage() -> None:
    assert rows(OPENAI_USAGE) == {InvoiceUnit("2026-11-01", "gpt-4o-2024-08-06"): Charged(4, 1010, 55)}
    assert read(OPENAI_USAGE.encode(), "x", "2026-11", str).left_out == 1


def test_an_export_of_openais_costs() -> None:
    assert rows(OPENAI_COSTS) == {InvoiceUnit("2026-11-01", "gpt-4o-2024-08-06"): Charged(cost=3_075_000)}


def test_an_export_of_anthropics_usage() -> None:
    place = InvoiceUnit("2026-11-01", "claude-sonnet-4-5-20250929")
    assert rows(ANTHROPIC_USAGE) == {place: Charged(None, 4123, 50)}


def test_any_file_with_the_usual_names() -> None:
    text = '\ufeffDay;Model Name;Prompt Tokens;Total Cost\n2026-11-03;O1;"1,000";$1,234.50\n'
    assert rows(text) == {InvoiceUnit("2026-11-03", "o1"): Charged(input=1000, cost=1_234_500_000_000)}
    assert rows("model,cost\no1,1\nO1,2\n") == {InvoiceUnit("", "o1"): Charged(cost=3_000_000_000)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("date,cost\n2026-11-01,1\n", "no column for the model"),
        ("date,model\n2026-11-01,o1\n", "no column for tokens, cost or requests"),
        ("model,cost\no1\n", "row 2 has 1 cells, the heading 2"),
        ("model,cost\no1,one\n", "row 2: `one` is not a number"),
        ("model,cost\no1,NaN\n", "row 2: `NaN` is not a number"),
        ("model,input tokens\no1,1.5\n", "row 2: `1.5` is not a whole number"),
        ("date,model,cost\n01.11.2026,o1,1\n", "row 2: `01.11.2026` is not a date"),
        ("model,cost,currency\no1,1,EUR\n", "row 2: the amount is in EUR"),
        ('model,cost\n"o1,1\n', "line"),
    ],
)
def test_what_cannot_be_compared_is_refused(text: str, message: str) -> None:
    with pytest.raises(GatewayError, match=r"invoice\.csv: ") as caught:
        rows(text)
    assert message in caught.value.message


def test_what_does_not_match_is_listed() -> None:
    day, other = InvoiceUnit("2026-11-01", "gpt-4o-2024-08-06"), InvoiceUnit("2026-11-02", "o1")
    invoice = read(OPENAI_USAGE.encode(), "x", "2026-11", str)
    same = {day: Charged(4, 1010, 55, 99)}
    assert differences(invoice, same, 0) == []
    used = {day: Charged(4, 1000, 55, 99), other: Charged(1, 0, 7, 5)}
    assert differences(invoice, used, 0) == [
        InvoiceDifference(day, "input", 1010, 1000),
        InvoiceDifference(other, "requests", None, 1),
        InvoiceDifference(other, "output", None, 7),
    ]
    assert [each.used for each in differences(invoice, {}, 0)] == [None, None, None]
    costs = read(OPENAI_COSTS.encode(), "x", "2026-11", str)
    near = {day: Charged(cost=3_076_000)}
    assert [len(differences(costs, near, tolerance)) for tolerance in (0, 999, 1000)] == [1, 1, 0]
