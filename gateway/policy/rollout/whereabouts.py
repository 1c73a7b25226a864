"""Finds where a bundle got stuck on its way from its author's directory into force."""

from __future__ import annotations

from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.policy.bundle import MANIFEST
from gateway.policy.rollout import fetch
from gateway.policy.rollout.source import GitSource
from gateway.policy.rollout.state import OK, attempted
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.settings import Settings
from gateway.storage.liveness import members

# A refusal further back than this in the log of activations is not looked for.
_RECENT = 500


def missing_step(settings: Settings, registry: Registry, bundle: str) -> str:
    """The missing step before `bundle` is in force; "" if there is no such bundle in the policies repository."""
    if why := fetch.missing(settings):
        return why
    source = GitSource(settings.repository, settings.policies_path, settings.policies_ref)
    try:
        commit = source.head().commit
        names = source.names(commit)
    except GatewayError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    if bundle not in names:
        if elsewhere := source.branches_with(bundle):
            branch, ref = elsewhere[0], settings.policies_ref
            return f"it is committed on the branch `{branch}`, and the gateway follows `{ref}`: merge it there"
        return _not_committed(settings, bundle)
    active = queries.activation(registry)
    holds = f"commit {commit[:12]} holds it"
    if active is not None and active.commit == commit:
        return f"{holds} and has come into force just now: try again"
    if refusal := _refusal(settings.data, commit):
        return f"{holds}, but was not put into force: {refusal}"
    if not any(members(settings.data)):
        return f"{holds}: start `gateway up`, which tests it and puts it into force"
    return f"{holds}, and the gateway is testing it: try again in a moment"


def is_followed(settings: Settings, commit: str) -> bool:
    """True if the branch or tag that the gateway follows has this commit; true if nobody can tell."""
    try:
        return GitSource(settings.repository, settings.policies_path, settings.policies_ref).is_followed(commit)
    except GatewayError:
        return True


def _not_committed(settings: Settings, bundle: str) -> str:
    """The missing step of a bundle that the commit does not hold, if its files lie in a working tree."""
    directory = settings.repository / settings.policies_path.strip("/") / bundle
    if "/" in bundle or bundle in (".", "..") or not directory.is_dir():
        return ""
    if not (directory / MANIFEST).is_file():
        return f"`{directory}` has no `{MANIFEST}`: add one, and commit it"
    return f"`{directory}` is not in the newest commit of `{settings.policies_ref}`: commit it"


def _refusal(data: DataDirectory, commit: str) -> str:
    """The reason why the newest attempt to activate this commit failed, as the log has it; "" if it did not."""
    try:
        with opened_log(data) as log:
            found = [each for each in attempted(log, _RECENT) if each.commit == commit]
    except GatewayError:
        return ""  # commands that need the log say what is wrong with it
    return f"{found[0].outcome}: {found[0].detail}".splitlines()[0] if found and found[0].outcome != OK else ""
