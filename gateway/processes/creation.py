"""Creates a gateway in one step (architecture.md, sections 11 and 13).

Everything is created in a directory beside the final one and renamed into place when it is complete: whatever goes
wrong, nobody sees half a gateway. Each step needs the ones before it.
"""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from gateway.audit import signer, storage
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError, Hint
from gateway.identity import token_keys
from gateway.identity.credentials import Peppers
from gateway.policy.rollout import hook
from gateway.policy.rollout.source import create_repository, packaged_files
from gateway.policy.rollout.sync import activate_head
from gateway.processes import local
from gateway.registry import names, publication
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key
from gateway.registry.organizations.changes import create_organization
from gateway.registry.policies.bindings import bind
from gateway.secrets.vault import Vault
from gateway.settings import PREFIX, SCHEMA, load_settings
from gateway.storage import durable

ORGANIZATION = "default"
STARTER_BUNDLE = "starter"
_ELSEWHERE = Hint("choose another directory with --data")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGateway:
    """The report of `gateway init`. `key` is the first agent's secret, stored nowhere; `key_id` its public part."""

    data: str
    deployment: str
    organization: str
    agent: str
    agent_id: str
    bundle: str
    commit: str
    base_url: str
    key_id: str
    key: str = field(repr=False)


def create(final: Path, agent: str, name: str | None = None) -> NewGateway:
    """A whole gateway with one agent that is bound to the starter bundle.

    `name` is the deployment's and cannot be changed later: the names of its logs begin with it. Raises `GatewayError`,
    and leaves nothing behind then.
    """
    deployment = names.check_name("deployment", name or _default_name())
    names.check_name("agent", agent)
    url = _base_url(final)
    with _new_directory(final) as directory:
        return _create(directory, final, deployment, agent, url)


def starter_files() -> dict[str, bytes]:
    """The policies repository of a new gateway: a commented bundle, its test, and a README."""
    return packaged_files(resources.files("gateway.processes") / "starter_bundle")


def create_empty(final: Path, policies: Mapping[str, bytes] | None = None) -> None:
    """A gateway without agents, for `gateway up --create`: it runs and denies everything.

    `policies` are the files of its policies repository, instead of the starter bundle.
    """
    with _new_directory(final) as data:
        registry, _, _ = _create_base(data, _default_name(), policies)
        try:
            publication.publish(registry, data)
        finally:
            registry.close()


def _create(data: DataDirectory, final: Path, deployment: str, agent: str, url: str) -> NewGateway:
    """The numbered steps; `data` is where the gateway is created, `final` where it will be."""

    # 1 to 4. The parts that every gateway has.
    registry, peppers, commit = _create_base(data, deployment)
    try:
        # 5. The first agent.
        registered = register_agent(
            registry,
            actor=local.actor(),
            organization=ORGANIZATION,
            name=agent,
            owner=hook.login(),
            environment="dev",
        )
        bind(
            registry,
            actor=local.actor(),
            organization=ORGANIZATION,
            kind="agent",
            subject=registered.id,
            bundle=STARTER_BUNDLE,
        )
        key = create_key(registry, peppers, actor=local.actor(), organization=ORGANIZATION, agent=registered.id)
        # 6. The entries of all this in the log.
        publication.publish(registry, data)
    finally:
        registry.close()
    return NewGateway(
        data=str(final),
        deployment=deployment,
        organization=ORGANIZATION,
        agent=agent,
        agent_id=registered.id,
        bundle=STARTER_BUNDLE,
        commit=commit,
        base_url=url,
        key_id=key.record.key_id,
        key=key.text,
    )


def _create_base(
    data: DataDirectory, deployment: str, policies: Mapping[str, bytes] | None = None
) -> tuple[Registry, Peppers, str]:
    """A gateway without agents: its open registry, its peppers and the commit of its first policies."""

    # 1. Secrets: everything below is hashed, sealed or signed with them.
    peppers = Peppers.create(data.keys)
    Vault.create(data.keys)
    token_keys.create(data.keys)
    signer.create_key(data, deployment)
    # 2. The audit log, so that everything that follows is recorded.
    storage.create(data)
    # 3. The registry with its first organization, and settings to change.
    registry = Registry.create(data, deployment)
    data.settings_file.write_text(settings_template(), "utf-8")
    try:
        create_organization(registry, actor=local.actor(), name=ORGANIZATION)
        # 4. The policies: a repository with the starter bundle, which is tested and activated.
        files = starter_files() if policies is None else policies
        create_repository(data.policies, files, "Start with these policies")
        hook.prepare(data.policies)
        return registry, peppers, activate_head(registry, data)
    except BaseException:
        registry.close()
        raise


@contextmanager
def _new_directory(final: Path) -> Iterator[DataDirectory]:
    """A directory that becomes `final` if all goes well, and nothing otherwise."""
    DataDirectory(final).check_absent()
    try:
        with durable.complete_or_absent(final) as made:
            data = DataDirectory(made)
            data.create()
            yield data
    except (OSError, sqlite3.Error, DBAPIError) as error:
        raise _cannot_create(final, error) from error
    except GatewayError as error:
        if str(data.path) not in error.message:
            raise
        # A place that the person has never heard of, and that is gone in a moment.
        message = error.message.replace(str(data.path), str(final))
        raise GatewayError(error.code, message, subject=str(final), hint=error.hint or _ELSEWHERE) from error


def _cannot_create(final: Path, error: Exception) -> GatewayError:
    if isinstance(error, FileExistsError):
        reason = "not a directory"  # a file stands where a directory on the path should be
    elif isinstance(error, OSError):
        reason = str(error.strerror).lower()
    else:
        reason = str(error.orig if isinstance(error, DBAPIError) else error)
    message = f"cannot create `{final}`: {reason}"
    return GatewayError("data_not_writable", message, subject=str(final), hint=_ELSEWHERE)


def _default_name() -> str:
    """This machine's name, so that the logs of two gateways have different names."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().split(".")[0]).strip("-")[:63] or "gateway"


def _base_url(data: Path) -> str:
    """The URL at which `gateway up` will serve agents, according to the environment and the defaults."""
    settings = load_settings({"data": data})
    return f"{settings.data_plane}/v1"


def settings_template() -> str:
    """A settings file that lists every setting with its meaning, its unit and its default, all commented out."""
    lines = [
        f"# Settings of this gateway. A flag beats the environment ({PREFIX}PORT=…), which beats this file.",
        "# Remove the `#` before a setting to change it, then restart `gateway up`.",
        "",
    ]
    for item in SCHEMA.values():
        if item.name == "data":  # this file is in it
            continue
        default = "policies" if item.name == "policies_repository" else "" if item.default is None else item.default
        unit = item.metadata.get("unit")
        meaning = f"{item.metadata['help']}, in {unit}" if unit else item.metadata["help"]
        # JSON's texts, numbers and booleans are TOML's.
        lines += [f"# {meaning}", f"# {item.name} = {json.dumps(default)}", ""]
    return "\n".join(lines)
