"""A new gateway in one step (docs/architecture.md, sections 11 and 13).

Everything is made in a directory beside the final one, which is renamed into place when it is complete: there is no
half-made gateway, whatever goes wrong. Each step needs the ones before it.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from gateway.audit import signer, storage
from gateway.errors import GatewayError
from gateway.identity.credentials import Peppers
from gateway.policy.rollout.source import create_repository, packaged_files
from gateway.policy.rollout.sync import activate_head
from gateway.processes import local
from gateway.registry import changes, names
from gateway.registry.database import Registry
from gateway.registry.vault import Vault
from gateway.settings import PREFIX, SCHEMA, DataDirectory, load_settings, url

ORGANIZATION = "default"
STARTER_BUNDLE = "starter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What `gateway init` reports. `key` is the secret, of which there is no other copy; `key_id` its public part."""

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


def make(final: Path, agent: str, name: str | None = None) -> Made:
    """A whole gateway with one agent that is bound to the starter bundle.

    `name` is the deployment's, for good: its audit logs begin with it. Raises `GatewayError`; nothing is left then.
    """
    deployment = names.check_name("deployment", name or _default_name())
    names.check_name("agent", agent)
    url = _base_url(final)
    with _new_directory(final) as directory:
        return _make(directory, final, deployment, agent, url)


def starter_files() -> dict[str, bytes]:
    """The policies repository of a new gateway: a commented bundle, its test, and a README."""
    return packaged_files(resources.files("gateway.processes") / "starter_bundle")


def make_empty(final: Path, policies: Mapping[str, bytes] | None = None) -> None:
    """A gateway without agents, for `gateway up` where nobody typed `gateway init`: it runs and denies everything.

    `policies` are the files of its policies repository, instead of the starter bundle.
    """
    with _new_directory(final) as data:
        registry, _, _ = _make_base(data, _default_name(), policies)
        try:
            local.publish(registry, data)
        finally:
            registry.close()


def _make(data: DataDirectory, final: Path, deployment: str, agent: str, url: str) -> Made:
    """The numbered steps; `data` is where it is made, `final` where it will be."""

    # 1 to 4. What every gateway has.
    registry, peppers, commit = _make_base(data, deployment)
    try:
        # 5. The first agent.
        made_agent = changes.register_agent(
            registry,
            actor=local.actor(),
            organization=ORGANIZATION,
            name=agent,
            owner=_login(),
            environment="dev",
        )
        changes.bind(
            registry,
            actor=local.actor(),
            organization=ORGANIZATION,
            kind="agent",
            subject=made_agent.id,
            bundle=STARTER_BUNDLE,
        )
        key = changes.create_key(registry, peppers, actor=local.actor(), organization=ORGANIZATION, agent=made_agent.id)
        # 6. The entries of all this in the log.
        local.publish(registry, data)
    finally:
        registry.close()
    return Made(
        data=str(final),
        deployment=deployment,
        organization=ORGANIZATION,
        agent=agent,
        agent_id=made_agent.id,
        bundle=STARTER_BUNDLE,
        commit=commit,
        base_url=url,
        key_id=key.record.key_id,
        key=key.text,
    )


def _make_base(
    data: DataDirectory, deployment: str, policies: Mapping[str, bytes] | None = None
) -> tuple[Registry, Peppers, str]:
    """A gateway without agents: its open registry, its peppers and the commit of its first policies."""

    # 1. Secrets: without them nothing below could be sealed, hashed or signed.
    peppers = Peppers.create(data.keys)
    Vault.create(data.keys)
    signer.create_key(data, deployment)
    # 2. The audit log, so that all of the following is in it.
    storage.create(data)
    # 3. The registry with its first organization, and settings to change.
    registry = Registry.create(data, deployment)
    data.settings_file.write_text(settings_template(), "utf-8")
    try:
        changes.create_organization(registry, actor=local.actor(), name=ORGANIZATION)
        # 4. The policies: a repository with the starter bundle, tested and put into force.
        files = starter_files() if policies is None else policies
        create_repository(data.policies, files, "Start with these policies")
        return registry, peppers, activate_head(registry, data)
    except BaseException:
        registry.close()
        raise


@contextmanager
def _new_directory(final: Path) -> Iterator[DataDirectory]:
    """A directory that becomes `final` if all goes well, and nothing otherwise."""
    DataDirectory(final).check_absent()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        holder = tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent)
    except OSError as error:
        raise _cannot_create(final, error) from error
    try:
        data = DataDirectory(Path(holder) / final.name)
        data.create()
        yield data
        try:
            os.rename(data.path, final)
            _sync(final.parent)
        except OSError as error:
            raise _cannot_create(final, error) from error
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _cannot_create(final: Path, error: OSError) -> GatewayError:
    # What exists where a parent should be is a file.
    reason = "not a directory" if isinstance(error, FileExistsError) else str(error.strerror).lower()
    return GatewayError(
        "data_not_writable",
        f"cannot create `{final}`: {reason}",
        subject=str(final),
        hint="choose another directory with --data",
    )


def _sync(directory: Path) -> None:
    """After this the rename survives a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _default_name() -> str:
    """This machine's name, so that the logs of two gateways are told apart."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().split(".")[0]).strip("-")[:63] or "gateway"


def _login() -> str:
    """Who is at the keyboard; empty where the user has no name, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _base_url(data: Path) -> str:
    """Where `gateway up` will serve agents, as far as flags and environment say now."""
    settings = load_settings({"data": data})
    return f"{url(settings.host, settings.port)}/v1"


def settings_template() -> str:
    """A settings file in which every setting stands with its default, its meaning and its unit, all commented out."""
    lines = [
        f"# Settings of this gateway. A flag beats the environment ({PREFIX}PORT=…), which beats this file.",
        "# Remove the `#` before a setting to change it, then restart `gateway up`.",
        "",
    ]
    for item in SCHEMA.values():
        if item.name == "data":  # this file is in it
            continue
        default = "policies" if item.name == "policies_repository" else item.default
        unit = item.metadata.get("unit")
        meaning = f"{item.metadata['help']}, in {unit}" if unit else item.metadata["help"]
        # JSON's texts, numbers and booleans are TOML's.
        lines += [f"# {meaning}", f"# {item.name} = {json.dumps(default)}", ""]
    return "\n".join(lines)
