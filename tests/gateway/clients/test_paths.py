"""Every path that a client of today can call: it is served, or refused with the name of what is not served."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Denied
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import routes_of
from gateway.upstream.routing import Destination, RouteTable, target
from gateway.upstream.wrong_route import speaker

pytestmark = pytest.mark.slow  # reads the sources of whole packages

_CALL = re.compile(r'self\._(get|post|put|patch|delete|get_api_list)\(\s*(?:path_template\(\s*)?f?"(/[^"]+)"')
_LIST_BY_POST = re.compile(r'method="post"')
_GOOGLE = re.compile(r"path(?: = |=)f?['\"]([^'\"]+)['\"]")
# Google's package puts a part of a path in the place of these, too.
_GOOGLE_PARTS = {
    "{{api_version}}": "v1beta", "{api_version}": "v1beta", "{model}": "models/m", "{models_url}": "models",
    "{parent}": "tunedModels/x", "{resourceName}": "models/m/operations/x", "{operationName}": "models/m/operations/x",
    "{file_search_store_name}": "fileSearchStores/x", "{clean_id}": "files/x",
}  # fmt: skip


def sources(package: str, folder: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    for path in sorted((Path(spec.origin).parent / folder).rglob("*.py")):
        if "test" not in path.relative_to(Path(spec.origin).parent).as_posix():
            yield path.read_text("utf-8")


def calls(package: str) -> set[tuple[str, str]]:
    """The methods and paths in the sources of a package that was generated from an OpenAPI document."""
    found = set()
    for text in sources(package, "resources"):
        for call in _CALL.finditer(text):
            method, rest = call[1].upper(), text[call.end() : call.end() + 900].partition("self._")[0]
            if method == "GET_API_LIST":
                method = "POST" if _LIST_BY_POST.search(rest) else "GET"
            found.add((method, re.sub(r"\{[^}]*\}", "x1", call[2]).partition("?")[0]))
    return found


def unnamed(provider: str, asked: set[tuple[str, str]]) -> list[str]:
    """Those that are neither served nor refused by name."""
    upstream = Destination("ups_x", "default", "its", PROVIDERS[provider], "http://x", default=True, secret=None)
    table, bad = RouteTable([upstream]), []
    for method, path in sorted(asked):
        try:
            table.resolve("default", target(method, f"/its{path}".encode()))
        except Denied as denied:
            if "this gateway does not serve" not in denied.text and denied.code != "wrong_method":
                bad.append(f"{method} {path}")
    return bad


def test_openai() -> None:
    asked = {(method, f"/v1{path}") for method, path in calls("openai")}
    assert len(asked) > 300
    assert unnamed("openai", asked) == []
    served = [path for method, path in asked if routes_of(PROVIDERS["openai"]).find(method, path)]
    assert len(served) > 40


def test_anthropic() -> None:
    asked = calls("anthropic")
    assert len(asked) > 200
    assert unnamed("anthropic", asked) == []


def test_google() -> None:
    found = set()
    for text in sources("google.genai", ""):
        for written in _GOOGLE.findall(text):
            path = written
            for name, value in _GOOGLE_PARTS.items():
                path = path.replace(name, value)
            if path.startswith(("{name}", "{path}", "projects/")) or not re.match(r"/?[{a-z]", path):
                continue  # named by another call; the same with a query; what Vertex AI puts before
            path = re.sub(r"\{+[^}]*\}+", "x1", path.partition("?")[0]).lstrip("/")
            path = path if path.startswith(("v1beta/", "upload/")) else f"v1beta/{path}"
            if "." not in path and not path.startswith("v1beta/x1"):  # an example in a docstring; a name of anything
                found.add(path)
    assert len(found) > 30
    asked = {(method, f"/{path}") for path in found for method in ("GET", "POST")}
    assert unnamed("gemini", asked) == []


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "azure"])
def test_the_name_of_an_upstream_says_whose_error_it_gets(provider: str) -> None:
    found = speaker(f"/{provider}/v1/skills")
    assert found is not None
    assert found.name == provider
