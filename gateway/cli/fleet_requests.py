"""Requests about the registry as a file: its text and what it refers to are read here, and sent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from gateway.errors import GatewayError
from gateway.identity import credentials
from gateway.management.client import ApiError, Client, Reply
from gateway.registry.fleet import posted
from gateway.registry.fleet.apply import KeyFile, MadeKey
from gateway.registry.fleet.document import FleetError, Mistake
from gateway.registry.fleet.plan import Step
from gateway.upstream.providers.http import openapi

_SECONDS: Final = 600.0
"""How long a large file may take."""
_CARRIED_OUT: Final = "already_carried_out"
_ATTEMPTS: Final = 30

if TYPE_CHECKING:
    from gateway.registry.fleet.document import Document


class LocalSources(Protocol):
    """What the upstreams of a file refer to, as it is where the command runs."""

    def secret(self, upstream: str, key: Mapping[str, Any]) -> str | None: ...

    def specification(self, upstream: str, path: str) -> str: ...

    def openapi(self, path: str) -> dict[str, Any]:
        """An OpenAPI document itself, which can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFleet:
    """A fleet file, read, and how it is meant. Without `organization` it is the one that is meant anyway.

    With `prune` what is not in the file is removed, with `keys` each agent of the file without a live key gets one, and
    with `suspend_now` the settings may suspend agents at once; with `replace_revoked` what was revoked may come back.
    """

    document: Document
    sources: LocalSources
    organization: str | None
    prune: bool
    keys: bool
    suspend_now: bool
    replace_revoked: bool = False
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done, or would be. Steps from elsewhere have no items."""

    organization: str
    steps: Sequence[Step]


def export(gateway: Client, organization: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.send("GET", "fleet", seconds=_SECONDS, organization=organization).body
    return found


def rehearse(gateway: Client, asked: AskedFleet) -> Plan:
    return _plan(_planned(gateway, asked, _body(asked), rehearse=True))


def apply(
    gateway: Client, asked: AskedFleet, confirm: Callable[[Sequence[Step]], None] | None, key_file: KeyFile | None
) -> Plan:
    """If somebody is to confirm the plan, or keys are made for it, exactly this plan is applied or none."""
    body, match = _body(asked), "*"
    made: dict[str, str] = {}
    if key_file is not None or (confirm is not None and asked.prune):
        planned = _planned(gateway, asked, body, rehearse=False)
        shown, match = _plan(planned).steps, planned.tag
        if confirm is not None and any(each.action == "remove" for each in shown):
            confirm(shown)
        if key_file is not None:
            made = {each.name: credentials.generate("agent").text for each in shown if each.noun == "key"}
            body |= {"keys": made}
    if key_file is None or not made:
        return _plan(_applied(gateway, asked, body, match))
    # The keys are on disk before they are sent: none can be in force and lost.
    key_file.write([MadeKey(agent, "", text) for agent, text in made.items()])
    reply = _with_file(gateway, asked, body, match, key_file)
    key_file.write([MadeKey(each["agent"], each["id"], made[each["agent"]]) for each in reply.body["keys"]])
    return _plan(reply)


def _planned(gateway: Client, asked: AskedFleet, body: dict[str, Any], *, rehearse: bool) -> Reply:
    more = {"with_keys": asked.keys, "rehearse": rehearse}
    return _sent(gateway, asked, "plan", body | more, uuid.uuid4().hex, "")


def _with_file(gateway: Client, asked: AskedFleet, body: dict[str, Any], match: str, key_file: KeyFile) -> Reply:
    try:
        return _applied(gateway, asked, body, match)
    except GatewayError as error:
        if not (gateway.transport.is_here or _refused(error)):
            message = f"{error.message}; whether the file was applied is not known, so its new keys are kept"
            hint = "apply it again with another file for keys: it makes none for agents whose kept ones work"
            raise GatewayError(error.code, message, hint=hint) from error
        key_file.discard()
        raise


def _applied(gateway: Client, asked: AskedFleet, body: dict[str, Any], match: str) -> Reply:
    """With one idempotency key: however often it is sent, it is carried out once."""
    key = uuid.uuid4().hex
    for _ in range(_ATTEMPTS - 1):
        try:
            return _sent(gateway, asked, "apply", body, key, match)
        except ApiError as error:
            if error.code == "changed_meanwhile":
                raise GatewayError(error.code, error.message, hint="apply it again") from error
            if error.code != _CARRIED_OUT:
                raise
        time.sleep(1)  # its answer is known when all its entries are in the log
    return _sent(gateway, asked, "apply", body, key, match)


def _sent(gateway: Client, asked: AskedFleet, verb: str, body: dict[str, Any], key: str, match: str) -> Reply:
    if not gateway.transport.is_here and len(orjson.dumps(body)) > posted.MAX_BYTES - 1024:
        message = f"{asked.document.source} is too large for a request: with all it names it has more than "
        hint = "apply it in parts, or on the gateway's own machine"
        raise GatewayError("too_large", f"{message}{posted.MAX_BYTES >> 20} MiB", hint=hint)
    try:
        return gateway.send(
            "POST",
            "fleet",
            verb,
            body=body,
            match=match,
            key=key,
            seconds=_SECONDS,
            organization=asked.organization,
        )
    except ApiError as error:
        if error.code != "invalid_fleet" or not error.errors:
            raise
        mistakes = [Mistake(int(each.get("line", 0)), str(each.get("message"))) for each in error.errors]
        raise FleetError(asked.document.source, mistakes, error.hint) from error
    except FleetError as error:
        raise FleetError(asked.document.source, error.mistakes, error.hint) from error


def _refused(error: GatewayError) -> bool:
    """Whether the gateway says that it has not carried the request out; otherwise it may have."""
    answer = error if isinstance(error, ApiError) else error.__cause__
    return isinstance(answer, ApiError) and answer.status < 500 and answer.code != _CARRIED_OUT


def _plan(reply: Reply) -> Plan:
    steps = [
        Step(action=each["action"], noun=each["noun"], name=each["name"], changes=tuple(each["changes"]))
        for each in reply.body["steps"]
    ]
    return Plan(reply.body["organization"], steps)


def _body(asked: AskedFleet) -> dict[str, Any]:
    """The file and what it refers to. Raises `FleetError` for what cannot be read here."""
    read, mistakes = asked.document, list[Mistake]()
    secrets: dict[str, str] = {}
    documents: dict[str, Mapping[str, Any]] = {}
    for item, line in read.items("upstreams"):
        name = item["name"]
        try:
            if "key" in item and (secret := asked.sources.secret(name, item["key"])) is not None:
                secrets[name] = secret
            if "openapi" in item:
                documents[name] = openapi.needed(asked.sources.openapi(item["openapi"]))
        except GatewayError as error:
            hint = f": {error.hint}" if error.hint else ""
            mistakes.append(Mistake(line, f"upstream {name}: {error.message}{hint}"))
    if mistakes:
        raise FleetError(read.source, mistakes)
    return {
        "document": read.value,
        "lines": posted.lines_of(read),
        "secrets": secrets,
        "openapi": documents,
        "prune": asked.prune,
        "suspend_now": asked.suspend_now,
        **({"replace_revoked": True} if asked.replace_revoked else {}),
        "reason": asked.reason,
    }
