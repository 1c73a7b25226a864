"""The registry of an organization as one document (fleet.md): compared, tried out and applied, or exported.

There is no right for a fleet: each step needs that of its own noun. The sender reads the files and variables that its
document names, and sends what they hold beside it.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
from pydantic import Field, WithJsonSchema

from gateway.control import shapes
from gateway.control.api.keys import check_scope
from gateway.control.api.upstreams import Secret, check_reach
from gateway.control.callers import Caller, check_access, may
from gateway.control.operation import Answer, Ask, Operation, Reasoned
from gateway.control.problems import Problem
from gateway.control.shapes import Schema
from gateway.errors import GatewayError
from gateway.registry.database import Registry
from gateway.registry.fleet import document, export, posted
from gateway.registry.fleet.apply import Applier
from gateway.registry.fleet.document import Document, FleetError
from gateway.registry.fleet.plan import NAMED_ONLY, Noun, Planner, Step
from gateway.upstream.providers.http import api, openapi

_PURPOSE: Final = b"plan of a fleet file\0"


def _fleet_schema() -> Schema:
    """The schema of fleet files, as a part of the document of the API."""
    return {
        name: each for name, each in document.whole_schema().items() if name not in ("$schema", "$id", "v", "title")
    }


_FLEET: Final = _fleet_schema()


_TEXT: Final[Schema] = {"type": "string"}
_STEP: Final = shapes.closed(
    {
        "action": {"type": "string", "enum": ["add", "change", "remove"]},
        "noun": _TEXT,
        "name": _TEXT,
        "changes": {"type": "array", "items": _TEXT, "description": "What becomes of it, for people."},
    }
)
_PLAN: Final = shapes.closed(
    {
        "organization": _TEXT,
        "applied": {"type": "boolean"},
        "steps": {"type": "array", "items": _STEP},
        "keys": {
            "type": "array",
            "items": shapes.closed({"agent": _TEXT, "id": _TEXT}),
            "description": "The new keys' ids.",
        },
    }
)


class FleetBody(Reasoned):
    """A fleet file, and what it refers to."""

    document: Annotated[dict[str, Any], WithJsonSchema(_FLEET)] = Field(description="The file.")
    lines: dict[str, list[Annotated[int, Field(ge=0, lt=2**31)]]] | None = Field(
        None, description="In which line each item of a section stands, and `settings`; for messages."
    )
    secrets: dict[str, Secret] = Field(
        {}, description="What the `key` of an upstream holds, by the upstream's name. It is sealed and never shown."
    )
    openapi: dict[str, dict[str, Any]] = Field(
        {}, description="The OpenAPI document of an upstream that names one, by the upstream's name."
    )
    prune: bool = Field(False, description="Also remove what the file's sections do not list.")
    suspend_now: bool = Field(False, description="Also if agents would be suspended at once.")
    replace_revoked: bool = Field(False, description="Also if what was revoked comes back.")


class FleetToPlan(FleetBody):
    """A fleet file to compare with the registry."""

    with_keys: bool = Field(False, description="Also say which agents of the file have no key that works.")
    rehearse: bool = Field(True, description="Also make all changes to a copy, to find what would be wrong.")


class FleetToApply(FleetBody):
    """A fleet file to apply."""

    keys: dict[str, str] | None = Field(
        None,
        description="A new key, made by the sender, for each agent of the file that has none that works, by its name.",
    )


@dataclass(frozen=True, slots=True)
class _Sent:
    """`Sources` of the planner: what was sent."""

    secrets: Mapping[str, str]
    documents: Mapping[str, dict[str, Any]]

    def secret(self, upstream: str, key: Mapping[str, Any]) -> str | None:
        if "none" in key:
            return None
        if upstream not in self.secrets:
            raise GatewayError("invalid_key", "its key is missing", hint=f"send it in `secrets` as `{upstream}`")
        return self.secrets[upstream]

    def specification(self, upstream: str, path: str) -> str:
        if upstream not in self.documents:
            hint = f"send it in `openapi` as `{upstream}`"
            raise GatewayError("invalid_openapi", "its OpenAPI document is missing", hint=hint)
        return api.dump(openapi.api_of(self.documents[upstream]))


SECTIONS: Final = {
    "settings": "organizations",
    "teams": "teams",
    "agents": "agents",
    "spiffe_ids": "keys",
    "public_keys": "keys",
    "upstreams": "upstreams",
    "routes": "routes",
    "bindings": "bindings",
    "limits": "limits",
}
"""What one must be for, to read a section or to compare with it."""

_NOUNS: Final[dict[Noun, str]] = {
    "team": "teams",
    "agent": "agents",
    "key": "keys",
    "SPIFFE ID": "keys",
    "public key": "keys",
    "upstream": "upstreams",
    "route": "routes",
    "binding": "bindings",
    "limit": "limits",
    "organization": "organizations",
}


def check_comparison(caller: Caller, document: Mapping[str, Any], *, keys: bool) -> None:
    """Raise `Problem` 403 unless the operator may read everything that this document is compared with."""
    nouns = [noun for section, noun in SECTIONS.items() if section in document] + ["keys"] * keys
    for noun in dict.fromkeys(nouns):
        check_access(caller, noun, write=False)


def check_steps(caller: Caller, steps: Sequence[Step]) -> None:
    """Raise `Problem` 403 unless the operator may take each step.

    A team that is made because something names it needs no right of its own: naming it is a step that is checked, and
    makes the team in requests for one thing as well.
    """
    nouns = [_NOUNS[each.noun] for each in steps if each.noun != "team" or each.changes != NAMED_ONLY]
    for noun in dict.fromkeys(nouns):
        check_access(caller, noun, write=True)


@Operation("GET /fleet", answer=_FLEET)
def exported(ask: Ask) -> Answer:
    """An organization's part of the registry as a fleet file, without secrets."""
    for noun in dict.fromkeys(SECTIONS.values()):
        check_access(ask.caller, noun, write=False)
    return Answer(body=export.document(ask.registry, ask.tenant, of_gateway=ask.caller.organization is None))


@Operation(
    "POST /fleet/plan",
    most_bytes=posted.MAX_BYTES,
    most_values=posted.MAX_VALUES,
    heavy=True,
    changes_nothing=True,
    answer=_PLAN,
    tagged=True,
)
def plan(ask: Ask[FleetToPlan]) -> Answer:
    """Say what applying a fleet file would do, and what would be wrong; nothing is changed.

    What applying the file would do. With `rehearse` it is done to a copy, for whoever may read what it is about.
    """
    given = ask.body
    read = _read(ask, given)
    check_comparison(ask.caller, read.value, keys=given.with_keys)
    check = functools.partial(_check_reach, ask)
    try:
        if given.rehearse:
            with ask.registry.copied() as copy:
                planner = _planner(ask, copy, read, given, keys=given.with_keys)
                steps, _ = _applier(ask, copy, given).apply(planner, check)
        else:
            steps = _planner(ask, ask.registry, read, given, keys=given.with_keys).steps()
            check(steps)
    except FleetError as error:
        raise posted.placed(read, error) from error
    tag = _tag(ask, given, given.with_keys, steps)
    return Answer(body=_told(ask, steps, applied=False), tag=tag)


@Operation(
    "POST /fleet/apply",
    most_bytes=posted.MAX_BYTES,
    most_values=posted.MAX_VALUES,
    heavy=True,
    answer=_PLAN,
    if_match="required",
)
def apply(ask: Ask[FleetToApply]) -> Answer:
    """Make the registry what a fleet file says, in one transaction."""
    given = ask.body
    read = _read(ask, given)
    keys = given.keys is not None
    check_comparison(ask.caller, read.value, keys=keys)
    planner = _planner(ask, ask.registry, read, given, keys=keys)

    def check(steps: Sequence[Step]) -> None:
        check_steps(ask.caller, steps)
        _check_reach(ask, steps)
        if ask.matching is not None and not {"*", _tag(ask, given, keys, steps)} & set(ask.matching):
            detail = "the registry was changed since the plan was made"
            raise Problem(412, "changed_meanwhile", detail, hint="plan it again, and send the new ETag in If-Match")
        if keys and set(given.keys or ()) != {each.name for each in steps if each.noun == "key"}:
            detail = "`keys` are not for exactly those agents that have none"
            raise GatewayError("invalid_key", detail, hint="plan it with `with_keys`, and make one for each step `key`")

    try:
        planner.steps()  # others need not wait for the comparison; it is made again only if something has changed
        steps, made = _applier(ask, ask.change(), given).apply(planner, check)
    except FleetError as error:
        raise posted.placed(read, error) from error
    told = [{"agent": each.record.agent, "id": each.record.id} for each in made]
    return Answer(body=_told(ask, steps, applied=True, keys=told))


def _read(ask: Ask, given: FleetBody) -> Document:
    read = posted.document(given.document, given.lines)
    if (said := read.value.get("organization", ask.tenant)) != ask.tenant:
        message = f"the file is for organization `{said}`, not `{ask.tenant}`"
        raise GatewayError("invalid_organization", message, hint=f"add `?organization={said}`")
    return read


def _planner(ask: Ask, registry: Registry, read: Document, given: FleetBody, *, keys: bool) -> Planner:
    return Planner(
        registry,
        read,
        ask.tenant,
        ask.context.vault,
        _Sent(given.secrets, given.openapi),
        prune=given.prune,
        keys=keys,
        # Who only reads must not find out secrets by guessing.
        compare_secrets=may(ask.caller, "upstreams", write=True),
        of_gateway=ask.caller.organization is None,
        replace_revoked=given.replace_revoked,
    )


def _applier(ask: Ask, registry: Registry, given: FleetBody) -> Applier:
    return Applier(
        registry,
        ask.context.vault,
        ask.context.peppers,
        ask.actor,
        ask.tenant,
        "",
        functools.partial(check_scope, registry, ask.tenant),
        given.reason,
        given.suspend_now,
        given.replace_revoked,
        given.keys if isinstance(given, FleetToApply) else None,
    )


def _check_reach(ask: Ask, steps: Sequence[Step]) -> None:
    for each in steps:
        if each.noun == "upstream" and each.action != "remove":
            check_reach(ask.caller, each.item["base_url"], insecure=each.item["insecure"])


def _tag(ask: Ask, given: FleetBody, keys: bool, steps: Sequence[Step]) -> str:
    """The plan, for `If-Match`: of this document with its secrets, so nobody without the pepper can guess them."""
    what = [
        *(ask.tenant, given.prune, given.suspend_now, given.replace_revoked, keys),
        *(given.document, given.secrets, given.openapi),
        [(each.action, each.noun, each.name, each.changes) for each in steps],
    ]
    found = hmac.digest(
        ask.context.peppers.current, _PURPOSE + orjson.dumps(what, option=orjson.OPT_SORT_KEYS), "sha256"
    )
    return f'"{found.hex()[:32]}"'


def _told(ask: Ask, steps: Sequence[Step], *, applied: bool, keys: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    listed = [
        {"action": each.action, "noun": each.noun, "name": each.name, "changes": list(each.changes)} for each in steps
    ]
    return {"organization": ask.tenant, "applied": applied, "steps": listed, "keys": list(keys)}
