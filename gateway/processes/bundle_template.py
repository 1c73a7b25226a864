"""The files of a new bundle: the starter bundle under another name, wherever that name stands.

Specification: policies.md, "A bundle".
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from gateway.errors import ConflictError, GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.policy.bundle import Files
from gateway.policy.rollout.source import packaged_files
from gateway.registry import names

_NAME = "starter"
# No part of a package's path may be one of these.
_KEYWORDS = re.compile("as|contains|data|default|else|every|false|if|import|in|input|not|null|package|some|true|with")


def new_bundle(name: str, taken: Iterable[str] = ()) -> Files:
    """A bundle with a policy and its tests, which passes the check. `taken` are the roots of the bundles beside it.

    Raises `GatewayError` for a name that no bundle can have, or whose root is taken.
    """
    names.check_name("bundle", name)
    root = root_of(name)
    for other in taken:
        if policy_bundle.overlap(root, other):
            message = f"the root `{root}` of a bundle `{name}` overlaps `{other}` of another bundle"
            raise GatewayError("roots_overlap", message, subject=name, hint="choose another name")
    packaged = packaged_files(resources.files("gateway.processes") / "starter_bundle" / _NAME)
    return {path: _renamed(content.decode(), name, root).encode() for path, content in packaged.items()}


def write(target: Path, files: Files) -> None:
    """Write a bundle into a new directory. Raises `GatewayError`, and leaves nothing behind then."""
    where = str(target)
    if target.exists():
        raise ConflictError("bundle_exists", f"`{where}` exists already", subject=where, hint="choose another name")
    if not target.parent.is_dir():
        raise GatewayError("policies_not_writable", f"there is no directory `{target.parent}`", subject=where)
    try:
        for path, content in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(content)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        reason = (error.strerror or type(error).__name__).lower()
        raise GatewayError("policies_not_writable", f"cannot write `{where}`: {reason}", subject=where) from error


def root_of(name: str) -> str:
    """The part of `data` for a bundle: its name, as far as that can stand in a package's path."""
    root = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if root[0].isdigit():
        root = f"_{root}"
    return f"{root}_" if _KEYWORDS.fullmatch(root) else root


def _renamed(text: str, name: str, root: str) -> str:
    text = text.replace("# title: Starter policy", f"# title: Policy {name}")
    text = text.replace("#   Your first policy. The gateway", "#   The gateway")
    text = text.replace("Tests of the starter policy", f"Tests of the policy {name}")
    text = text.replace(f"`{_NAME}`", f"`{name}`")
    return re.sub(rf"\b{_NAME}\b", root, text)
