"""The targets of `$ref` in a JSON Schema document: JSON pointers, and identifiers resolved against each other.

References reach what the document itself contains. Nothing is ever fetched: a schema must not make a decision depend
on, or tell anything to, another host. Error texts are those of OPA's gojsonschema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn
from urllib.parse import urljoin

from policy_engine.builtins import uri
from policy_engine.builtins.octets import from_bytes
from policy_engine.values import Value


class SchemaError(ValueError):
    """A document that is no schema."""


def fail(text: str) -> NoReturn:
    raise SchemaError(text)


def check_uri(text: str) -> uri.URI:
    try:
        return uri.split(text)
    except uri.URIError as error:
        fail(str(error))


class References:
    """The places of one document. Its objects are told apart by identity, so nothing else may hold a part of it."""

    def __init__(self, document: Value, charge: Callable[[int], None]) -> None:
        self._identified: dict[str, Value] = {"": document}
        self._bases: dict[int, str] = {}
        pending: list[tuple[Value, str]] = [(document, "")]
        while pending:
            value, base = pending.pop()
            charge(1)
            if value.__class__ is list:
                pending += [(item, base) for item in reversed(value)]
            elif value.__class__ is dict:
                own = value.get("id" if "id" in value else "$id")
                if own.__class__ is str:
                    base = _join(base, own)
                    self._identified.setdefault(base, value)
                self._bases[id(value)] = base
                pending += [(part, base) for part in reversed([*_schemas_in(value)])]

    def resolve(self, reference: str, source: Value) -> str:
        """The URI that a reference in the object `source` means."""
        check_uri(reference)
        return _join(self._bases.get(id(source), ""), reference)

    def find(self, target: str) -> Value:
        """The part of the document that a URI names."""
        if target in self._identified:
            return self._identified[target]
        whole, _, fragment = target.partition("#")
        if whole in self._identified:
            pointer = check_uri(f"#{fragment}").fragment
            return _follow(self._identified[whole], from_bytes(pointer.encode("latin-1")))
        parts = check_uri(whole)
        if (parts.scheme and parts.host) or (parts.scheme == "file" and parts.path.startswith("/")):
            fail(f"Reference {target} leads out of the schema, and nothing is fetched")
        fail(f"Reference {target} must be canonical")


def _schemas_in(document: dict[str, Value]) -> Iterator[Value]:
    """Values in which `$id` is the keyword: not in literal values, and not as the name of a property."""
    for keyword, value in sorted(document.items()):
        if keyword in ("properties", "dependencies", "patternProperties") and value.__class__ is dict:
            yield from value.values()
        elif keyword not in ("const", "enum"):
            yield value


def _join(base: str, reference: str) -> str:
    """The URI a reference means. An empty fragment is none, and a path without a base begins at the root."""
    try:
        joined = (urljoin(base, reference) if base else reference).removesuffix("#")
        if joined[:1] not in ("", "/", "#", "?") and not uri.split(joined).scheme:
            return f"/{joined}"
    except ValueError:
        # An identifier that is no URI identifies nothing; the compiler reports it.
        return base
    return joined


def _follow(document: Value, pointer: str) -> Value:
    """The part of a document that a JSON pointer names; text that is no pointer names the whole document."""
    if not pointer.startswith("/"):
        return document
    for token in pointer[1:].split("/"):
        if document.__class__ is dict:
            key = token.replace("~1", "/").replace("~0", "~")
            if key not in document:
                fail(f"Object has no key '{key}'")
            document = document[key]
        elif document.__class__ is list:
            if not (token.isascii() and token.isdigit()):
                fail(f"Invalid array index '{token}'")
            if len(token) > 9 or int(token) >= len(document):
                fail(f"Out of bound array[0,{len(document)}] index '{token}'")
            document = document[int(token)]
        else:
            fail(f"Invalid token reference '{token}'")
    return document
