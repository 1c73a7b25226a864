"""The data directory: where everything is that a gateway keeps (architecture.md, section 13)."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from gateway import ownership
from gateway.errors import ConflictError, GatewayError, Hint

DEFAULT_DATA = Path(".gateway")
FILE_NAME = "gateway.toml"
"""The name of the settings' file in the data directory."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The place where one gateway keeps its state. It knows names only; the owners of the files know the contents."""

    path: Path

    @property
    def registry_db(self) -> Path:
        return self.path / "registry.db"

    @property
    def audit_db(self) -> Path:
        return self.path / "audit.db"

    @property
    def runtime_db(self) -> Path:
        return self.path / "runtime.db"

    @property
    def audit_lock(self) -> Path:
        return self.path / "audit.lock"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def bundles(self) -> Path:
        return self.path / "bundles"

    @property
    def cache(self) -> Path:
        """Compiled policies, for a faster start: nothing that cannot be made anew."""
        return self.path / "cache"

    @property
    def metrics(self) -> Path:
        """The workers' counts since the gateway was started; may be deleted while it is stopped."""
        return self.path / "metrics"

    @property
    def processes(self) -> Path:
        return self.path / "processes"

    @property
    def signer_state(self) -> Path:
        return self.path / "signer-state"

    @property
    def policies(self) -> Path:
        """The policies repository that `gateway init` makes; `policies_repository` may name another one."""
        return self.path / "policies"

    @property
    def fetched_policies(self) -> Path:
        """The local copy of a policies repository on another machine."""
        return self.path / "policies-remote"

    @property
    def fetch_state(self) -> Path:
        """When policies were fetched last, and what went wrong."""
        return self.path / "policies-fetch.json"

    @property
    def prices(self) -> Path:
        """The operator's own prices, unless `prices_file` names another file."""
        return self.path / "prices.json"

    @property
    def price_table(self) -> Path:
        """The table of prices that `gateway prices update` has written."""
        return self.path / "prices-table.json"

    @property
    def settings_file(self) -> Path:
        return self.path / FILE_NAME

    def check_absent(self) -> None:
        """Raise if anything exists there: an existing directory is never taken over."""
        if os.path.lexists(self.path):
            raise ConflictError(
                "data_exists",
                f"`{self.path}` exists already",
                subject=str(self.path),
                hint=Hint("choose another directory with --data, or go on with `gateway up`"),
            )

    def create(self) -> None:
        """Make the directory and its parts, for this user only."""
        self.check_absent()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for part in (self.path, self.keys, self.bundles, self.processes):
                part.mkdir(mode=0o700)
        except OSError as error:
            raise GatewayError(
                "data_not_writable",
                f"cannot create `{self.path}`: {(error.strerror or type(error).__name__).lower()}",
                subject=str(self.path),
                hint=Hint("choose another directory with --data"),
            ) from error

    def check_owner(self) -> None:
        """Raise if another user may have written what is in it. To be called before anything there is read."""
        ownership.check(self.path)

    def check(self) -> None:
        """Raise unless this is a gateway's data directory that this user can trust, read and write."""
        where = str(self.path)
        self.check_owner()
        if not os.path.lexists(self.path):
            flag = "" if self.path == DEFAULT_DATA else f" --data {shlex.quote(where)}"
            shown = where if self.path.is_absolute() else f"./{where}"
            raise GatewayError(
                "data_missing", f"no gateway in {shown}", subject=where, hint=Hint(f"type `gateway init{flag}`")
            )
        if not self.path.is_dir():
            raise GatewayError("data_not_directory", f"`{where}` is not a directory", subject=where)
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            if os.statvfs(self.path).f_flag & os.ST_RDONLY:
                hint = Hint("copy it to a place that can be written to, and name that with --data")
                text = f"`{where}` is on a disk that can only be read"
                raise GatewayError("data_not_writable", text, subject=where, hint=hint)
            raise GatewayError(
                "data_not_writable",
                f"`{where}` is not readable and writable for this user",
                subject=where,
                hint=Hint("run as the user who typed `gateway init`"),
            )
        if not self.registry_db.exists():
            raise GatewayError(
                "data_missing",
                f"`{where}` is not a gateway's data directory: it has no registry.db",
                subject=where,
                hint=Hint("name another directory with --data, or make one with `gateway init --data DIR`"),
            )
