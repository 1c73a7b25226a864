"""The changes of a fleet file in the registry: a list of steps, computed without changing anything.

A member that the file leaves out stays as it is. Rows that only the registry has stay too, unless the
caller asks to prune: then it is removed, within the sections that the file has.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, cast

from sqlmodel import select

from gateway.errors import GatewayError, UnknownError, did_you_mean
from gateway.identity.call_tokens import KEY
from gateway.registry import names, queries
from gateway.registry.agents import versions as agent_versions
from gateway.registry.database import Registry
from gateway.registry.fleet import agent_item, key_items, settings_item
from gateway.registry.fleet.document import Document, FleetError, Mistake
from gateway.registry.limits import usage_limits
from gateway.registry.models import Upstream
from gateway.registry.organizations import queries as tenants
from gateway.registry.organizations import teams
from gateway.registry.queries import reading
from gateway.registry.records import BindingRecord, RouteRecord, SubjectKind, UpstreamRecord
from gateway.registry.upstreams.changes import check_auth
from gateway.registry.upstreams.tools import check_trust
from gateway.secrets.vault import Vault
from gateway.usage.limits import Part

Action = Literal["add", "change", "remove"]
Noun = Literal[
    "team", "agent", "key", "upstream", "route", "binding", "limit", "SPIFFE ID", "public key", "organization"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change. `item` is what the file says of the thing, and `changes` tell a person what becomes of it.

    Two plans of the same file are equal if the same things are to be done.
    """

    action: Action
    noun: Noun
    name: str
    changes: tuple[str, ...] = ()
    line: int = 0
    item: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    # An upstream's key. Never printed.
    secret: str | None = field(default=None, repr=False, compare=False)


class Sources(Protocol):
    """The things that the upstreams of a file refer to, each named; both raise `GatewayError`."""

    def secret(self, upstream: str, key: Mapping[str, Any]) -> str | None: ...

    def specification(self, upstream: str, path: str) -> str: ...


NAMED_ONLY: Final = ("nobody was in it yet",)
"""The `changes` of a team that is made because something of the file names it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a binding or a limit; `name` is that of an agent, a team or the organization."""

    kind: SubjectKind
    name: str

    @classmethod
    def of(cls, item: Mapping[str, Any], organization: str) -> Subject:
        if "agent" in item:
            return cls("agent", item["agent"])
        return cls("team", item["team"]) if "team" in item else cls("organization", organization)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Planner:
    """Compares one file with one organization's part of the registry.

    With `prune`, what is not in the file is removed; with `keys`, each agent of the file that has no live key gets one.
    Without `compare_secrets`, nothing tells whether an upstream's key is the one that it has. With `of_gateway` the
    caller is the gateway's operator, and so are the limits that do not say whose they are; without, the organization's.
    With `replace_revoked` what was revoked may be made anew, also where the file does not say so.
    """

    def __init__(
        self,
        registry: Registry,
        document: Document,
        organization: str,
        vault: Vault,
        sources: Sources,
        *,
        prune: bool = False,
        keys: bool = False,
        compare_secrets: bool = True,
        of_gateway: bool = True,
        replace_revoked: bool = False,
    ) -> None:
        self._registry = registry
        self._document = document
        self._organization = organization
        self._vault = vault
        self._sources = sources
        self._prune = prune
        self._keys = keys
        self._compare_secrets = compare_secrets
        self._of_gateway = of_gateway
        self._replace_revoked = replace_revoked
        self._mistakes: list[Mistake] = []
        self._made: tuple[int, list[Step]] | None = None  # the steps, and the epoch before the registry was read

    def steps(self) -> list[Step]:
        """Additions and changes in the order in which they can be made, then removals in the opposite one.

        Raises `FleetError` with all that can be known to be wrong without making the changes. They are computed again
        only if the registry has changed.
        """
        with self._registry.read() as session:
            epoch = queries.current_epoch(session)
        if self._made is None or self._made[0] != epoch:
            self._made = epoch, self._compared()
        return self._made[1]

    def _compared(self) -> list[Step]:
        teams = self._teams()
        upstreams = self._upstreams()
        routes = self._routes()
        agents = self._agents()
        keys = self._missing_keys() if self._keys else []
        named = [step for section in key_items.NOUNS for step in self._named_keys(section)]
        bindings = self._bindings()
        limits = self._limits()
        settings = self._settings()
        if self._mistakes:
            raise FleetError(self._document.source, self._mistakes)
        found = [*teams, *upstreams, *routes, *agents, *keys, *named, *bindings, *limits, *settings]
        made = [each for each in found if each.action != "remove"]
        removed = [each for each in reversed(found) if each.action == "remove"]
        return made + (removed if self._prune else [])

    def _items(self, section: str, key: Callable[[dict[str, Any]], Any]) -> Iterator[tuple[Any, dict[str, Any], int]]:
        """A section's items by a key of which there may be only one."""
        seen: dict[Any, int] = {}
        for item, line in self._document.items(section):
            found = key(item)
            if found in seen:
                self._mistakes.append(Mistake(line, f"this was said in {self._document.place(seen[found])} already"))
                continue
            seen[found] = line
            yield found, item, line

    def _removed(self, section: str, noun: Noun, there: Iterable[Any], listed: Iterable[Any]) -> list[Step]:
        if section not in self._document.value:
            return []
        kept = set(listed)
        gone = [key for key in there if key not in kept]
        return [Step(action="remove", noun=noun, name=_name(key), item={"key": key}) for key in gone]

    # --- the organization itself --------------------------------------------------------------------------------------

    def _settings(self) -> list[Step]:
        """They come last: a rule of reviews is for the agents as the file makes them."""
        item = self._document.value.get("settings")
        if not item:
            return []
        line, name = self._document.line("settings"), self._organization
        try:
            wanted = settings_item.checked(item)
        except GatewayError as error:
            self._mistakes.append(Mistake(line, f"settings: {error.message}{_more(error)}"))
            return []
        changes = _changes(wanted, settings_item.of(tenants.organization(self._registry, name)))
        step = Step(action="change", noun="organization", name=name, changes=changes, line=line, item=wanted)
        return [step] if changes else []

    # --- teams and agents ---------------------------------------------------------------------------------------------

    def _teams(self) -> list[Step]:
        """A team that is not in the file stays, whatever is pruned: history refers to it."""
        known = {each.name: each for each in teams.teams(self._registry, self._organization)}
        steps, listed = [], set(known)
        for name, item, line in self._items("teams", lambda item: item["name"]):
            listed.add(name)
            wanted: dict[str, Any] = {member: item[member] for member in ("owner", "description") if member in item}
            if name not in known:
                steps.append(Step(action="add", noun="team", name=name, line=line, item=item))
            elif changes := _changes(wanted, {member: getattr(known[name], member) for member in wanted}):
                steps.append(Step(action="change", noun="team", name=name, changes=changes, line=line, item=wanted))
        # Naming a team makes it. It is shown, because the name may be mistyped.
        for section in ("agents", "bindings", "limits"):
            for item, line in self._document.items(section):
                name = item.get("team")
                if name and name not in listed:
                    listed.add(name)
                    new = {"name": name}
                    steps.append(Step(action="add", noun="team", name=name, changes=NAMED_ONLY, line=line, item=new))
        return steps

    def _agents(self) -> list[Step]:
        if "agents" not in self._document.value:
            return []
        found = queries.living_agents(self._registry, self._organization)
        named = {each.id: each.name for each in found}
        known = {each.name: agent_item.of(each, named) for each in found}
        parents = {*named, *known, *(item["name"] for item, _ in self._document.items("agents"))}
        new = [item["name"] for item, _ in self._document.items("agents") if item["name"] not in known]
        with reading(self._registry, self._organization) as (session, tenant):
            ended = agent_versions.predecessors(session, tenant, new)
        steps, listed = [], []
        for name, item, line in self._items("agents", lambda item: item["name"]):
            listed.append(name)
            try:
                if item.get("parent") and item["parent"] not in parents:
                    hint = did_you_mean(item["parent"], parents)
                    raise UnknownError("agent", f"its parent `{item['parent']}` is no agent", hint=hint)
                if name not in known:
                    before = ended.get(name)
                    agent_versions.check_return(before, meant=self._replace_revoked or item.get("replaces", ""))
                    made = {"members": agent_item.members(item), "status": item.get("status")}
                    told = () if before is None else (f"a new one: {before}",)
                    steps.append(Step(action="add", noun="agent", name=name, changes=told, line=line, item=made))
                elif changes := _changes(agent_item.normal(item), known[name]):
                    update = {"update": agent_item.update(known[name], item), "status": item.get("status")}
                    steps.append(
                        Step(action="change", noun="agent", name=name, changes=changes, line=line, item=update)
                    )
            except GatewayError as error:
                self._mistakes.append(Mistake(line, f"agent {name}: {error.message}{_more(error)}"))
        return steps + self._removed("agents", "agent", known, listed)

    def _missing_keys(self) -> list[Step]:
        now_ns = time.time_ns()
        found = queries.keys(self._registry, self._organization)
        keyed = {each.agent_id for each in found if each.status(now_ns) == "active"}
        known = {each.name: each for each in queries.living_agents(self._registry, self._organization)}
        # The agents of a revoked team can have none.
        ended = {each.name for each in teams.teams(self._registry, self._organization) if each.status == "revoked"}
        served = {name for name, each in known.items() if each.id in keyed or each.team in ended}
        return [
            Step(action="add", noun="key", name=item["name"], line=line)
            for item, line in self._document.items("agents")
            if item["name"] not in served
        ]

    def _named_keys(self, section: str) -> list[Step]:
        """SPIFFE IDs and public keys. They do not change: what differs is a mistake."""
        if section not in self._document.value:
            return []
        noun, known = key_items.NOUNS[section], key_items.known(self._registry, self._organization, section)
        steps: list[Step] = []
        listed: dict[str, int] = {}
        for item, line in self._document.items(section):
            try:
                said = key_items.read(item)
            except GatewayError as error:
                self._mistakes.append(Mistake(line, f"{noun} of agent {item['agent']}: {error.message}{_more(error)}"))
                continue
            name = f"{said.key_id} of agent {said.agent}"
            before = known.get(said.key_id)
            if said.key_id in listed:
                self._mistakes.append(
                    Mistake(line, f"this was said in {self._document.place(listed[said.key_id])} already")
                )
            elif before is None:
                meant = self._replace_revoked or item.get("replaces", "")
                try:
                    key_items.check_return(self._registry, self._organization, said, meant=meant)
                except GatewayError as error:
                    self._mistakes.append(Mistake(line, f"{noun} {name}: {error.message}{_more(error)}"))
                steps.append(Step(action="add", noun=noun, name=name, line=line, item=item))
            elif difference := said.difference(before):
                hint = f"revoke it first, `gateway keys revoke {before.id}`"
                self._mistakes.append(Mistake(line, f"{noun} {name}: it does not change, and {difference}: {hint}"))
            listed.setdefault(said.key_id, line)
        gone = [each for each in known.values() if each.key_id not in listed]
        return steps + [
            Step(action="remove", noun=noun, name=f"{each.key_id} of agent {each.agent}", item={"key": each.id})
            for each in gone
        ]

    # --- bindings and limits ------------------------------------------------------------------------------------------

    def _bindings(self) -> list[Step]:
        if "bindings" not in self._document.value:
            return []

        def of(item: dict[str, Any]) -> tuple[Any, ...]:
            subject = Subject.of(item, self._organization)
            return subject.kind, subject.name, item["bundle"], item.get("shadow", False)

        found = queries.bindings(self._registry, self._organization)
        known = {(each.subject_kind, each.subject, each.bundle, bool(each.shadow)): each for each in found}
        steps, listed = [], []
        for key, item, line in self._items("bindings", of):
            listed.append(key)
            before = known.get(key)
            if before is None:
                steps.append(Step(action="add", noun="binding", name=_name(key), line=line, item=item))
            elif changes := _binding_changes(before, item):
                full = {"effect": before.effect, "pinned": before.pinned, **item}
                steps.append(
                    Step(action="change", noun="binding", name=_name(key), changes=changes, line=line, item=full)
                )
        return steps + self._removed("bindings", "binding", known, listed)

    def _limits(self) -> list[Step]:
        if "limits" not in self._document.value:
            return []

        def of(item: dict[str, Any]) -> tuple[Any, ...]:
            subject = Subject.of(item, self._organization)
            whose = item.get("by_gateway", self._of_gateway)
            return subject.kind, subject.name, item["limit"], Part.in_item(item), whose

        found = usage_limits.limits(self._registry, self._organization)
        known = {(each.subject_kind, each.subject, each.limit, Part.of(each), each.by_gateway): each for each in found}
        steps, listed = [], []
        for key, item, line in self._items("limits", of):
            listed.append(key)
            before, name, by_gateway = known.get(key), self._limit_name(key), key[-1]
            mode = item.get("mode")
            if before is not None and before.value == item["value"] and mode in (None, before.mode):
                continue
            if by_gateway and not self._of_gateway:
                wrong = f"limit {name}: only an operator of the whole gateway can set it: leave it out of the file"
                self._mistakes.append(Mistake(line, wrong))
                continue
            action: Action = "add" if before is None else "change"
            changes = [f"{item['value']:,}"]
            if before is not None:
                changes = [f"{before.value:,} → {item['value']:,}"] if before.value != item["value"] else []
                changes += [f"{before.mode} → {mode}"] if mode not in (None, before.mode) else []
            full = {**item, "by_gateway": by_gateway}
            steps.append(Step(action=action, noun="limit", name=name, changes=tuple(changes), line=line, item=full))
        # Rows that the caller cannot remove stay, and its file need not have them.
        kept = set(listed)
        gone = [key for key, each in known.items() if key not in kept and (self._of_gateway or not each.by_gateway)]
        return steps + [
            Step(action="remove", noun="limit", name=self._limit_name(key), item={"key": key}) for key in gone
        ]

    def _limit_name(self, key: tuple[Any, ...]) -> str:
        """For people: whose it is is said where it is not the caller's."""
        *which, part, by_gateway = key
        name = _name((*which, *part))
        if by_gateway == self._of_gateway:
            return name
        return f"{name} ({'the gateway' if by_gateway else 'the organization'}'s)"

    # --- upstreams and routes -----------------------------------------------------------------------------------------

    def _upstreams(self) -> list[Step]:
        if "upstreams" not in self._document.value:
            return []
        known = {each.name: each for each in queries.upstreams(self._registry, self._organization, published=False)}
        steps, listed = [], []
        others = [item["name"] for item, _ in self._document.items("upstreams") if item.get("default")]
        if len(others) > 1:
            line = max(line for item, line in self._document.items("upstreams") if item.get("default"))
            self._mistakes.append(Mistake(line, f"only one of {', '.join(others)} can be the default"))
        for name, item, line in self._items("upstreams", lambda item: item["name"]):
            listed.append(name)
            try:
                step = self._upstream(known.get(name), item, line, bool(others))
            except GatewayError as error:
                self._mistakes.append(Mistake(line, f"upstream {name}: {error.message}" + _more(error)))
            else:
                steps += [step] if step is not None else []
        return steps + self._removed("upstreams", "upstream", known, listed)

    def _upstream(
        self, before: UpstreamRecord | None, item: dict[str, Any], line: int, another_default: bool
    ) -> Step | None:
        name = item["name"]
        secret = self._sources.secret(name, item["key"]) if "key" in item else None
        openapi = item.get("openapi")
        specification = None if openapi is None else self._sources.specification(name, openapi)
        if before is None:
            named = name if name in names.PROVIDERS else "openai-compatible"
            provider = item.get("provider", "http" if openapi else named)
            # A provider's own URL is for an upstream that is said to be of it, or has its name: a key must not go where
            # nobody meant it to.
            base_url = item.get("base_url", names.PROVIDERS.get(item.get("provider", name), ""))
        else:
            provider, base_url = item.get("provider", before.provider), item.get("base_url", before.base_url)
            specification = before.specification if specification is None else specification
        if not base_url:
            raise GatewayError("invalid_base", "`base_url` is missing")
        if provider == "http" and specification is None:
            raise GatewayError("invalid_openapi", "a JSON API needs its OpenAPI document", hint="add `openapi: FILE`")
        full = {
            "provider": names.check_provider(provider),
            "base_url": names.check_base_of(
                provider, names.check_base_url(base_url, insecure=item.get("insecure", False))
            ),
            "headers": names.check_headers(provider, item.get("headers", before.headers if before else {})),
            "default": item.get("default", before.default if before else False),
            "specification": specification if provider == "http" else None,
            "insecure": item.get("insecure", False),
            "auth": check_auth(item.get("auth", before.auth if before and "key" not in item else KEY), secret),
            "trust": check_trust(provider, item.get("trust", before.trust if before else None)),
            "name": name,
        }
        if before is None:
            credential = () if secret else ("without a key",) if full["auth"] == KEY else (f"auth: {full['auth']}",)
            changes = (f"{full['provider']} at {full['base_url']}", *credential)
            return Step(action="add", noun="upstream", name=name, changes=changes, line=line, item=full, secret=secret)
        if before.default and not full["default"] and not another_default:
            raise GatewayError("invalid_default", "there would be no default", hint="say `default: true` of another")
        changes = _upstream_changes(before, full)
        old = self._opened(before)
        if "key" in item:
            same = hmac.compare_digest((secret or "").encode(), (old or "").encode())
            changes += () if same or not self._compare_secrets else ("another key" if secret else "no key",)
        elif full["auth"] == KEY:
            if old is not None and (before.provider, before.base_url) != (full["provider"], full["base_url"]):
                raise GatewayError("invalid_key", "another address needs its key again", hint="say where `key` is")
            secret = old
        if not changes:
            return None
        return Step(action="change", noun="upstream", name=name, changes=changes, line=line, item=full, secret=secret)

    def _opened(self, record: UpstreamRecord) -> str | None:
        with self._registry.read() as session:
            row = session.exec(select(Upstream).where(Upstream.id == record.id)).one()
            if row.secret is None:
                return None
            return self._vault.open(row.secret, row.place(record.organization))

    def _routes(self) -> list[Step]:
        if "routes" not in self._document.value:
            return []
        known = {each.name: each for each in queries.routes(self._registry, self._organization)}
        steps, listed = [], []
        for name, item, line in self._items("routes", lambda item: item["name"]):
            listed.append(name)
            if name not in known:
                members = ", ".join(each["upstream"] for each in item["members"])
                steps.append(Step(action="add", noun="route", name=name, changes=(members,), line=line, item=item))
            elif changes := _route_changes(known[name], item):
                steps.append(Step(action="change", noun="route", name=name, changes=changes, line=line, item=item))
        return steps + self._removed("routes", "route", known, listed)


def _binding_changes(before: BindingRecord, item: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = {name: item[name] for name in ("effect",) if name in item}
    there: dict[str, Any] = {"effect": before.effect}
    pinned = before.pinned or ""
    # A commit may be abbreviated in the file. Empty, the binding follows what is in force.
    if "pinned" in item and not (item["pinned"] and pinned.startswith(item["pinned"])) and item["pinned"] != pinned:
        wanted["pinned"], there["pinned"] = item["pinned"], pinned
    return _changes(wanted, there)


def _upstream_changes(before: UpstreamRecord, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    shown = ("provider", "base_url", "headers", "auth", "trust", "default")
    there = {name: getattr(before, name) for name in shown}
    # If another becomes the default, this one loses it without a change of its own.
    changes = {name: wanted[name] for name in shown if name != "default" or wanted[name]}
    described = _changes(changes, there)
    if wanted["specification"] != before.specification:
        described += ("another OpenAPI document",)
    return described


def _route_changes(before: RouteRecord, item: Mapping[str, Any]) -> tuple[str, ...]:
    members = [
        (each["upstream"], each.get("tier", 0), each.get("weight", 1), dict(each.get("models", {})))
        for each in item["members"]
    ]
    there = [(each.upstream, each.tier, each.weight, dict(each.models)) for each in before.members]
    changes = () if members == there else (f"members: {_member_list(there)} → {_member_list(members)}",)
    wanted = {"default": item["default"]} if "default" in item else {}
    return changes + _changes(wanted, {"default": before.default})


def _member_list(members: Iterable[tuple[str, int, int, dict[str, str]]]) -> str:
    return ", ".join(f"{name} (tier {tier}, weight {weight})" for name, tier, weight, _ in members)


def _changes(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {_text(there[name])} → {_text(value)}" for name, value in wanted.items() if value != there[name]
    )


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {each}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value or isinstance(value, int) else '""'


def _name(key: Any) -> str:
    """A thing's name for people: of a binding `team support, bundle x`."""
    if isinstance(key, str):
        return key
    kind, subject, what, *rest = key
    more = " (shadow)" if rest == [True] else "".join(f" {each}" for each in rest if each)
    return f"{what}{more} of {cast(str, kind)} {subject}"


def _more(error: GatewayError) -> str:
    return f": {error.hint}" if error.hint else ""
