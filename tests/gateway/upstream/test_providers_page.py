"""providers.md says what the code does: providers, routes, base URLs of clients, names of caps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.registry.names import PROVIDERS as BASE_URLS
from gateway.upstream import wrong_route
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Destination, RouteTable, target
from gateway.upstream.wrong_route import HEADINGS, unknown

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "reference" / "providers.md").read_text("utf-8")


def section(heading: str) -> str:
    return re.split(r"^##+ ", PAGE.split(f"\n### {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_provider_is_listed_with_its_base_url() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| (.+) \|$", PAGE, flags=re.MULTILINE))
    assert rows.keys() == BASE_URLS.keys()
    for name, url in BASE_URLS.items():
        assert rows[name] == f"`{url}`" if url else rows[name].startswith("yours"), name


@pytest.mark.parametrize("name", HEADINGS)
def test_every_route_is_listed(name: str) -> None:
    rows = re.findall(r"^\| `(\w+) (\S+)` \| `([\w.]+)` \|$", section(HEADINGS[name]), flags=re.MULTILINE)
    assert rows == [(route.method, route.path, route.action) for route in PROVIDERS[name].routes]


def test_a_refusal_leads_to_the_list_of_routes() -> None:
    told = unknown("POST", "/v2/nothing").reasons[-1]
    assert (DOCS.parent / wrong_route.PAGE).is_file()
    links = re.findall(r"docs/reference/providers\.md#([a-z-]+)", told)
    assert set(links) == {heading.lower().replace(" ", "-") for heading in HEADINGS.values()}
    assert all(section(heading) for heading in HEADINGS.values())
    assert len(told) < 350


def test_base_urls_of_clients_lead_to_their_provider() -> None:
    rows = re.findall(r"^\| `[\w.]+\(.*\| `http://127.0.0.1:8080(\S*)` \| `(\w+) (\S+)` \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 7
    one = Destination("ups", "default", "", PROVIDERS["openai"], "https://x.example", False, None)
    names = (*HEADINGS, "groq", "mistral")
    table = RouteTable([replace(one, name=name, provider=PROVIDERS[name], preset=name) for name in names])
    for base, method, path in rows:
        match = table.resolve("default", target(method, (base + path).encode()))
        assert match.destination.name == base.split("/")[1]


def test_the_name_of_a_cap_is_documented_for_every_provider() -> None:
    listed = (
        (DOCS / "reference" / "policies.md").read_text("utf-8").split("### Caps and the servers that honour them", 1)[1]
    )
    rows = re.findall(r"^\| (`.+`) \| .+ \|$", listed.split("\n## ", 1)[0], flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert named == BASE_URLS.keys() - {"a2a", "http", "mcp"}
