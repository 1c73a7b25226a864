"""The source of the vault's key-encryption key: the file `keys/kek`, an environment variable, or a command.

A source outside of the data directory (`kek_env`, `kek_command`) gives one key or several, the newest first, each 32
bytes in base64. The first one seals; the others still open what was sealed before, as do the files that are left in
`keys/`. Everything that needs a key asks here.

No error repeats what a source gives.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.errors import GatewayError
from gateway.settings import PREFIX, Settings, kek_settings
from gateway.storage import secret_files

FILE: Final = "kek"
SECONDS: Final = 10  # how long a command may take

_RETIRED = re.compile(r"kek\.[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key-encryption key, and where it was found."""

    key: bytes = field(repr=False)
    where: str


@dataclass(frozen=True, slots=True)
class KeySource:
    """The source of one data directory's keys: a variable, a command, or, without either, the file in `keys`."""

    keys: Path
    variable: str = ""
    command: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> KeySource:
        """The source that a process of the gateway was started with."""
        return cls(settings.data.keys, settings.kek_env, settings.kek_command)

    @classmethod
    def configured(cls, keys: Path) -> KeySource:
        """The source that the environment and the settings file say now, for commands. Raises for wrong settings."""
        return cls(keys, *kek_settings(keys.parent))

    def __str__(self) -> str:
        if self.variable:
            return f"the variable `{self.variable}`"
        return "`kek_command`" if self.command else "`keys/kek`"

    @property
    def outside(self) -> bool:
        """True if the key in force is not a file of the data directory."""
        return bool(self.variable or self.command)

    def read(self) -> list[FoundKey]:
        """Every key that is there, the one that seals first. Raises `GatewayError` if that one is not to be had."""
        if not self.outside:
            key = secret_files.read(self.keys / FILE)
            return [FoundKey(key, f"keys/{FILE}"), *_files(retired(self.keys))]
        text = self._output() if self.command else os.environ.get(self.variable, "")
        found = [FoundKey(self._key(number, each), str(self)) for number, each in enumerate(text.split(), 1)]
        if not found:
            raise self._unusable("prints no key" if self.command else "is not set")
        return [*found, *_files([self.keys / FILE, *retired(self.keys)])]

    def _key(self, number: int, text: str) -> bytes:
        with suppress(binascii.Error, ValueError):
            key = base64.b64decode(text, validate=True)
            if len(key) == secret_files.SECRET_BYTES:
                return key
        raise self._unusable(f"gives as key {number} something other than {secret_files.SECRET_BYTES} bytes in base64")

    def _output(self) -> str:
        try:
            done = subprocess.run(  # noqa: S603  # the operator's own command; no shell
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                timeout=SECONDS, check=False, env=environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise self._unusable(f"did not end within {SECONDS} s") from None
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise self._unusable(f"cannot be started: {reason}") from None
        except ValueError:
            raise self._unusable("cannot be started: a part of it has a NUL character") from None
        if done.returncode:
            code = done.returncode
            raise self._unusable(f"failed: {f'exit code {code}' if code > 0 else f'killed by signal {-code}'}")
        return done.stdout.decode("ascii", "replace")

    def _unusable(self, why: str) -> GatewayError:
        hint = (
            "run it by hand, as the user and in the environment of the gateway"
            if self.command
            else "set it for the gateway and for every command that opens or seals secrets"
        )
        return GatewayError("kek_unusable", f"the vault's key: {self} {why}", subject=str(self), hint=hint)


def environment() -> dict[str, str]:
    """The environment of an operator's own command: without the settings and the token of this program."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def retired(keys: Path) -> list[Path]:
    """The files of keys that are being replaced."""
    return [path for path in sorted(keys.glob(f"{FILE}.*")) if _RETIRED.fullmatch(path.name)]


def _files(paths: list[Path]) -> list[FoundKey]:
    """The keys in these files, without those that were deleted meanwhile or are of no use."""
    found = []
    for path in paths:
        with suppress(GatewayError):
            found.append(FoundKey(secret_files.read(path), f"keys/{path.name}"))
    return found
