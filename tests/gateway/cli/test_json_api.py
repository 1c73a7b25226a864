"""`gateway upstreams add --openapi` and `show`: what a user does to put a JSON API behind the gateway."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.conftest import Run

CRM = """
openapi: 3.0.3
paths:
  /customers/{customerId}:
    get:
      operationId: getCustomer
      parameters: [{name: fields, in: query}]
"""
URL = ("--base-url", "https://crm.example/api", "--no-key")


def test_adding_an_api_and_looking_at_it(at: Run, tmp_path: Path) -> None:
    document = tmp_path / "crm.yaml"
    document.write_text(CRM)
    added = at("upstreams", "add", "crm", "--openapi", str(document), *URL)
    assert "`gateway upstreams show crm`" in added.out
    shown = at("upstreams", "show", "crm").out
    assert shown.splitlines()[1].split() == [
        "crm.getCustomer",
        "GET",
        "/crm/customers/{customerId}",
        "customerId,",
        "fields",
    ]
    assert '"action": "crm.getCustomer"' in at("upstreams", "show", "crm", "--json").out
    # A later document takes the place of this one.
    document.write_text(CRM.replace("getCustomer", "readCustomer"))
    assert at("upstreams", "add", "crm", "--openapi", str(document), *URL, "--replace").code == 0
    assert "crm.readCustomer" in at("upstreams", "show", "crm").out


def test_the_routes_of_a_provider(at: Run) -> None:
    at("upstreams", "add", "openai", "--key-env", "KEY", KEY="sk-x")
    shown = at("upstreams", "show", "openai").out
    assert "/openai/v1/chat/completions" in shown
    assert "responses.retrieve" in shown


def test_mistakes(at: Run, tmp_path: Path) -> None:
    document = tmp_path / "crm.yaml"
    document.write_text(CRM.replace("operationId: getCustomer", "summary: x"))
    for arguments, says in [
        (("crm", "--openapi", str(document), *URL), "GET /customers/{customerId}: it needs an operationId"),
        (("crm", "--openapi", str(tmp_path / "crn.yaml"), *URL), "no such file"),
        (("crm", "--provider", "http", *URL), "add --openapi FILE"),
        (("crm", "--openapi", str(document), "--provider", "openai", *URL), "exclude each other"),
        (("crm", "--openapi", str(document), "--no-key"), "GET /customers/{customerId}"),
    ]:
        done = at("upstreams", "add", *arguments)
        assert done.code == 1
        assert says in done.err
    done = at("upstreams", "show", "crm")
    assert (done.code, "unknown upstream `crm`" in done.err) == (1, True)
