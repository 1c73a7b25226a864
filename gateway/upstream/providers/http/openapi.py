"""Read an OpenAPI 3 document: which operations an API has, and what a policy can know of a call of each.

Only what the gateway needs is kept: method, path, `operationId`, the parameters, the members of a JSON body, and how
the API takes its credential. References are followed within the document only. Anything that the gateway could not
judge is refused when the document is read, not when an agent calls.
Source: the OpenAPI Specification 3.0.4 and 3.1.1 (https://spec.openapis.org/oas/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from gateway.errors import GatewayError
from gateway.upstream.providers.http.api import Api, ApiOperation, Parameter

MAX_BYTES = 8 * 1024 * 1024
MAX_OPERATIONS = 5_000
MAX_NAMES = 500_000
MAX_NAME_BYTES = 16 * 1024 * 1024
MAX_STEPS = 2_000_000
"""Objects, members of lists and names that are looked at: a small document can have much read again and again."""
_MAX_FAULTS = 500
_LONGEST_FAULT = 500
_MAX_REFERENCES = 32
_NO_VERSION = "it has no member `openapi` with a version 3.x"
_OPERATION = ("$ref", "operationId", "parameters", "requestBody")
_NOT_NEEDED = frozenset({"responses", "examples", "headers", "links", "callbacks"})

_METHODS = ("get", "post", "put", "patch", "delete")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._:-]|\{[A-Za-z_][A-Za-z0-9_]*\})+)+", re.ASCII)
_TEMPLATE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
# Headers that the gateway or the connection owns: a client's must not go upstream under these names.
_RESERVED_HEADERS = frozenset(
    {"accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie"}
    | {"expect", "forwarded", "host", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "user-agent", "via"}
)
# Headers by which an agent presents its own key to the gateway. The API's credential comes from the vault.
_CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})


def read(text: bytes) -> Api:
    """The API in an OpenAPI document in JSON or YAML; `GatewayError` with every fault that was found."""
    return api_of(load(text))


def load(text: bytes) -> dict[str, Any]:
    """An OpenAPI document as it is, in JSON or YAML."""
    if len(text) > MAX_BYTES:
        raise _bad([f"the document has more than {MAX_BYTES} bytes"])
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader, made stricter)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        first = str(error).replace("\n", " ").strip()
        raise _bad([f"it is neither YAML nor JSON: {first[:300]}"]) from None
    if not isinstance(document, dict):
        raise _bad([_NO_VERSION])
    return document


def needed(document: dict[str, Any]) -> dict[str, Any]:
    """A document without what `api_of` does not look at: answers, examples and texts are most of it."""
    components = document.get("components")
    if isinstance(components, dict):
        components = {name: each for name, each in components.items() if name not in _NOT_NEEDED}
    paths = document.get("paths")
    if isinstance(paths, dict):
        paths = {path: _needed_of(item) if isinstance(item, dict) else item for path, item in paths.items()}
    kept = {"openapi": document.get("openapi"), "paths": paths, "components": components}
    return {name: each for name, each in kept.items() if each is not None}


def _needed_of(item: dict[Any, Any]) -> dict[Any, Any]:
    return {
        name: {part: each[part] for part in _OPERATION if part in each}
        if name in _METHODS and isinstance(each, dict)
        else each
        for name, each in item.items()
    }


def api_of(document: dict[str, Any]) -> Api:
    """The API in a document; `GatewayError` with every fault that was found."""
    if not str(document.get("openapi", "")).startswith("3."):
        raise _bad([_NO_VERSION])
    reader = _Reader(document)
    operations = tuple(reader.operations())
    if not operations and not reader.faults:
        reader.faults.append("it has no operations")
    if len(operations) > MAX_OPERATIONS:
        reader.faults.append(f"it has more than {MAX_OPERATIONS} operations")
    if reader.faults:
        raise _bad(reader.faults)
    return Api(operations, reader.header, reader.prefix)


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: no dates, and no aliases, which can make a small document huge."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Part(NamedTuple):
    """The names of the members that one schema declares itself, and the references that it has."""

    names: frozenset[str]
    references: frozenset[str]


class _Reader:
    """Walks one document and collects every fault, so that an author can mend them together."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.faults: list[str] = []
        self._names = self._name_bytes = 0
        self._steps = 0
        self._parts: dict[str, _Part] = {}
        self._inners: dict[int, tuple[str, ...]] = {}  # by the schema's id, which the document keeps alive
        self.header, self.prefix = self._credential()

    def _step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > MAX_STEPS:
            raise _bad(["its parts refer to one another too often: leave out operations that no agent needs"])

    def _keep(self, names: int, size: int = 0) -> None:
        """Count what the gateway would keep: a small document can use one large schema everywhere."""
        self._names += names
        self._name_bytes += size
        if self._names > MAX_NAMES or self._name_bytes > MAX_NAME_BYTES:
            raise _bad([f"its operations declare more than {MAX_NAMES} parameters and members of bodies"])

    def _fault(self, text: str) -> None:
        """It may quote a path or a name of any length."""
        self.faults.append(text if len(text) <= _LONGEST_FAULT else f"{text[:_LONGEST_FAULT]}…")
        if len(self.faults) >= _MAX_FAULTS:
            raise _bad(self.faults)

    def operations(self) -> Iterator[ApiOperation]:
        names: dict[str, str] = {}
        paths = self._object(self._document.get("paths"), "paths")
        for path, item in paths.items():
            shared = self._object(item, f"paths {path}")
            for method in _METHODS:
                if method not in shared:
                    continue
                where = f"{method.upper()} {path}"
                found = self._object(shared[method], where)
                # Before the rest of it is read: any number of paths can refer to one item.
                if (name := self._operation_id(found, where)) is None:
                    continue
                if name in names:
                    self._fault(f"{where}: {names[name]} has the same operationId")
                    continue
                names[name] = where
                if (operation := self._operation(name, where, method, str(path), shared, found)) is not None:
                    yield operation

    def _operation_id(self, found: Mapping[str, Any], where: str) -> str | None:
        name = found.get("operationId")
        if isinstance(name, str) and _IDENTIFIER.fullmatch(name):
            return name
        self._fault(f"{where}: it needs an operationId of letters, digits, `_` and `-`: it is the action")
        return None

    def _operation(
        self, name: str, where: str, method: str, path: str, shared: Mapping[str, Any], found: Mapping[str, Any]
    ) -> ApiOperation | None:
        if not _PATH.fullmatch(path):
            self._fault(f"{where}: the path may have letters, digits, `.`, `_`, `:`, `-` and {{parameters}}")
            return None
        if any(segment.count("{") > 1 for segment in path.split("/")):
            # `/{a}.{b}` can be read in several ways, and a policy would judge one of them.
            self._fault(f"{where}: a segment of the path may have one parameter")
            return None
        by_place: dict[tuple[str, str], Parameter] = {
            ("path", template): Parameter(template, "path", required=True) for template in _TEMPLATE.findall(path)
        }
        for holder in (shared, found):
            for each in self._list(holder.get("parameters"), where):
                parameter = self._parameter(each, where)
                if parameter is not None:
                    by_place[parameter.place, parameter.name] = parameter
        body = self._body(found.get("requestBody"), where)
        parameters = [*by_place.values(), *(body or ())]
        self._keep(len(parameters))
        if body is not None and method in ("get", "delete"):
            self._fault(f"{where}: a body has no meaning for this method")
        return ApiOperation(name, method.upper(), path, tuple(parameters), body is not None)

    def _parameter(self, value: object, where: str) -> Parameter | None:
        found = self._object(value, where)
        name, place = found.get("name"), found.get("in")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._fault(f"{where}: the parameter {name!r} may have letters, digits, `_`, `.` and `-` in its name")
            return None
        if place not in ("path", "query", "header"):
            self._fault(f"{where}: the parameter `{name}` is in {place!r}, which is not path, query or header")
            return None
        if place == "header":
            name = name.lower()
            # The specification says that some are to be ignored; the credential is the gateway's.
            if name in ("accept", "content-type", self.header.lower()) or name in _CREDENTIAL_HEADERS:
                return None
            if name in _RESERVED_HEADERS or name.startswith(("x-forwarded-", "aig-")):
                self._fault(f"{where}: clients must not set the header `{name}`")
                return None
        return Parameter(name, place, required=found.get("required") is True)

    def _body(self, value: object, where: str) -> list[Parameter] | None:
        """The members of the JSON object that is the body; None if there is no body."""
        if value is None:
            return None
        content = self._object(self._object(value, where).get("content"), where)
        media = next(
            (each for name, each in content.items() if str(name).partition(";")[0] == "application/json"), None
        )
        if media is None:
            self._fault(f"{where}: the body must be application/json")
            return []
        schema = self._object(self._object(media, where).get("schema"), where)
        properties: dict[str, Any] = {}
        required: set[str] = set()
        for part in (schema, *self._list(schema.get("allOf"), where)):
            each = self._object(part, where)
            properties.update(self._object(each.get("properties") or {}, where))
            required.update(str(name) for name in self._list(each.get("required"), where))
        if not properties:
            self._fault(f"{where}: the schema of the body must list its properties: others are refused")
        for name in properties:
            if not _NAME.fullmatch(str(name)):
                self._fault(f"{where}: the property {name!r} of the body may have letters, digits, `_`, `.`, `-`")
        found = []
        for name, each in properties.items():
            inner = self._inner(each, where)
            self._keep(len(inner), sum(map(len, inner)))
            found.append(Parameter(str(name), "body", required=name in required, inner=inner))
        return found

    def _inner(self, value: object, where: str) -> tuple[str, ...]:
        """The names of all members that a schema declares, at any depth. Operations can share it."""
        if (known := self._inners.get(id(value))) is None:
            known = self._inners[id(value)] = tuple(sorted(self._names_below(value, where)))
        return known

    def _names_below(self, value: object, where: str) -> set[str]:
        part = self._part(value, where)
        names, waiting, seen = set(part.names), list(part.references), set(part.references)
        while waiting:
            reference = waiting.pop()
            if (found := self._parts.get(reference)) is None:
                found = self._parts[reference] = self._part(self._referred(reference, where), where)
            self._step(1 + len(found.names) + len(found.references))
            names |= found.names
            new = found.references - seen
            seen |= new
            waiting += new
        return names

    def _part(self, value: object, where: str) -> _Part:
        """One schema without what it refers to. Each is walked once, however many operations use it."""
        names: set[str] = set()
        references: set[str] = set()
        waiting = [value]
        while waiting:
            self._step()
            schema = waiting.pop()
            if not isinstance(schema, dict):
                continue
            if "$ref" in schema:
                references.add(str(schema["$ref"]))
                continue
            if isinstance(properties := schema.get("properties"), dict):
                names.update(map(str, properties))
                waiting += properties.values()
            waiting += [schema.get("items"), schema.get("additionalProperties")]
            for together in ("allOf", "anyOf", "oneOf"):
                waiting += self._list(schema.get(together), where)
        return _Part(frozenset(names), frozenset(references))

    def _credential(self) -> tuple[str, str]:
        """The header that takes the credential, and what stands before it: of the first scheme that is one."""
        components = self._object(self._document.get("components") or {}, "components")
        schemes = self._object(components.get("securitySchemes") or {}, "components.securitySchemes")
        for name, value in schemes.items():
            scheme = self._object(value, f"securitySchemes {name}")
            kind, place = scheme.get("type"), scheme.get("in")
            if kind == "apiKey" and place == "header" and _NAME.fullmatch(str(scheme.get("name"))):
                return str(scheme["name"]), ""
            if kind in ("oauth2", "openIdConnect") or (
                kind == "http" and str(scheme.get("scheme")).lower() == "bearer"
            ):
                return "Authorization", "Bearer "
        if schemes:
            self._fault("none of its securitySchemes is a bearer token or a key in a header")
        return "Authorization", "Bearer "

    def _object(self, value: object, where: str) -> dict[str, Any]:
        """`value` with its reference followed; an empty object and a fault if it is none."""
        for _ in range(_MAX_REFERENCES):
            self._step()
            if not isinstance(value, dict):
                self._fault(f"{where}: an object is expected")
                return {}
            if "$ref" not in value:
                return value
            value = self._referred(str(value["$ref"]), where)
        self._fault(f"{where}: references go in a circle")
        return {}

    def _referred(self, reference: str, where: str) -> object:
        if not reference.startswith("#/"):
            self._fault(f"{where}: the reference {reference!r} leads out of the document: bundle it first")
            return {}
        found: Any = self._document
        self._step(reference.count("/"))
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                self._fault(f"{where}: the reference {reference!r} leads nowhere")
                return {}
            found = found[key]
        return found

    def _list(self, value: object, where: str) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            self._fault(f"{where}: a list is expected")
            return []
        self._step(len(value))
        return value


def _bad(faults: list[str]) -> GatewayError:
    faults = list(dict.fromkeys(faults))
    shown = "; ".join(faults[:10]) + (f"; and {len(faults) - 10} more" if len(faults) > 10 else "")
    return GatewayError(
        "invalid_openapi", f"the OpenAPI document cannot be used: {shown}", hint="mend it and try again"
    )
