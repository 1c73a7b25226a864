"""The signer: it turns tree heads into signed checkpoints, and never signs two that contradict each other.

A log must not sign a checkpoint that is inconsistent with an earlier one. So the signer remembers the newest checkpoint
of every log outside of the database (`signer-state`). It signs a larger tree only if that tree is consistent with this
checkpoint and with the newest stored one. So a database that was rolled back to an old copy is found before a second
history is signed. The checkpoint is remembered before it is stored: one that nobody has seen does no harm, but a second
one for the same size does.

Only the process that holds the lock on the key file can sign.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import orjson

from gateway.audit import checkpoint as checkpoints
from gateway.audit import intents, note, storage, tiles
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.errors import AuditError
from gateway.audit.log_files import needed_log
from gateway.audit.log_reader import Head, IndexedLog
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.errors import Hint
from gateway.storage import durable

_TOGETHER: Final = 256  # announcements that share a commit; fewer than may wait in the writer's queue


def key_path(data: DataDirectory) -> Path:
    return data.keys / "signing"


def public_key_path(data: DataDirectory) -> Path:
    return data.keys / "signing.pub"


def create_key(data: DataDirectory, deployment: str) -> note.Verifier:
    """Create the deployment's signing key, with the public key beside it. Never overwrites."""
    checkpoints.origin(deployment, intents.SYSTEM, 1)  # the name must be able to begin an origin
    signer = note.NoteSigner.generate(deployment)
    _create(key_path(data), f"{signer.encode()}\n", 0o600)
    _create(public_key_path(data), f"{signer.verifier}\n", 0o644)
    return signer.verifier


def load_verifier(source: str | Path) -> note.Verifier:
    """A public key from a file, or written out as `<name>+<id>+<base64>`."""
    if isinstance(source, str) and "+" in source and not os.path.exists(source):
        return note.parse_verifier(source)
    try:
        text = Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not text"
        raise AuditError("bad_key", f"cannot read the public key `{source}`: {reason}") from error
    return note.parse_verifier(text)


def load_signer(data: DataDirectory) -> note.NoteSigner:
    """The signing key, for a note that is no checkpoint. Raises `bad_key`."""
    path = key_path(data)
    try:
        with path.open("rb") as file:
            check_private(os.fstat(file.fileno()).st_mode, path)
            return note.parse_signer(file.read().decode("utf-8", "replace"))
    except OSError as error:
        raise _unreadable(path, error) from error


def check_private(mode: int, path: Path) -> None:
    """Raise `bad_key` if others may read the signing key."""
    if mode & 0o077:
        hint = f"type `chmod 600 {path}`; if others read it, they can forge this log"
        raise AuditError("bad_key", f"the signing key `{path}` is open to other users", hint=hint)


def _unreadable(path: Path, error: OSError) -> AuditError:
    reason = (error.strerror or type(error).__name__).lower()
    return AuditError("bad_key", f"cannot read the signing key `{path}`: {reason}")


def load_state(data: DataDirectory) -> dict[str, str]:
    """The newest note of every log that was signed here, by origin, not verified."""
    try:
        state = orjson.loads(data.signer_state.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        raise _damaged(data) from error
    notes = state.get("notes") if isinstance(state, dict) and state.get("v") == 1 else None
    if not isinstance(notes, dict) or not all(isinstance(text, str) for text in notes.values()):
        raise _damaged(data)
    return notes


def sign_statement(data: DataDirectory, kind: str, lines: Iterable[str]) -> str:
    """A note that is no checkpoint, signed with the deployment's key under the name `<deployment>/<kind>`.

    Its first line is that name, which is no log's: those have four parts. Raises `AuditError` (`bad_key`).
    """
    path = key_path(data)
    try:
        signer = note.parse_signer(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError("bad_key", f"cannot read the signing key `{path}`") from error
    named = signer.named(f"{signer.name}/{kind}")
    return note.sign("".join(f"{each}\n" for each in (named.name, *lines)), [named])


def read_statement(text: str, kind: str, verifier: note.Verifier) -> list[str]:
    """The lines of a statement that this key has signed, but for the first. Raises `AuditError` (`bad_proof`)."""
    name = f"{verifier.name}/{kind}"
    first, *lines = note.verify(text, [verifier.named(name)]).splitlines()
    if first != name:
        raise AuditError("bad_proof", f"the note is about `{first}`, not about `{name}`")
    return lines


class HeadSigner:
    """Signs the heads of one data directory. Use it as a context manager, or `close` it; one thread at a time."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._finished = False  # all that is remembered is told and stored
        path = key_path(data)
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            check_private(os.fstat(self._file).st_mode, path)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._signer = note.parse_signer(path.read_text("utf-8", "replace"))
            self._state = {origin: self._own(text, origin) for origin, text in load_state(data).items()}
        except BlockingIOError as error:
            os.close(self._file)
            raise AuditError(
                "signer_refused",
                "another process signs with this key already",
                hint="one of a gateway that was just killed ends within a minute: try again then",
            ) from error
        except BaseException:
            os.close(self._file)
            raise
        self._verifier = self._signer.verifier

    def __enter__(self) -> HeadSigner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._file)

    @property
    def verifier(self) -> note.Verifier:
        """The public key of what it signs."""
        return self._verifier

    def check(self) -> None:
        """Raise `signer_refused` if a log contradicts an earlier checkpoint of it. Changes nothing."""
        refused: list[AuditError] = []
        self._examine(refused, system=None)
        if refused:
            raise refused[0]

    def forgotten(self) -> list[Checkpoint]:
        """The newest stored checkpoint of each log that `signer-state` does not mention."""
        found: list[Checkpoint] = []
        with needed_log(self._data) as db:
            for head in db.heads():
                stored = db.newest_checkpoint(head.id)
                if stored is not None and head.origin not in self._state:
                    found.append(self._own(stored, head.origin))
        return found

    def adopt(self, forgotten: Iterable[Checkpoint]) -> None:
        """Remember these as signed. The caller must know that the database is not an older copy."""
        self._save_state(self._state | {each.origin: each for each in forgotten})

    def sign_all(self, writer: AuditWriter) -> list[Checkpoint]:
        """Sign every log that has grown. The system log is the last, because it records the checkpoints of the others.

        If a log must not be signed, the others are signed all the same, and `signer_refused` is raised at the end.
        """
        refused: list[AuditError] = []
        if not self._finished:
            self._publish(writer, self._unfinished())
        self._finished = False
        signed = self._sign(refused, system=False)
        self._publish(writer, signed)
        self._announce(writer, self._before_growth())
        system = self._sign(refused, system=True)
        self._store(system)
        self._finished = not refused
        if refused:
            raise refused[0]
        return [*signed, *system]

    def _publish(self, writer: AuditWriter, signed: Sequence[Checkpoint]) -> None:
        """Tell the system log of checkpoints, then store them: so it has told of each that is stored."""
        self._announce(writer, [each for each in signed if not _is_of_system(each)])
        self._store(signed)

    def _announce(self, writer: AuditWriter, signed: Sequence[Checkpoint]) -> None:
        for at in range(0, len(signed), _TOGETHER):
            for waiting in [writer.submit(_announcement(each)) for each in signed[at : at + _TOGETHER]]:
                waiting.result()

    def _unfinished(self) -> list[Checkpoint]:
        """Checkpoints that are remembered and were not stored when the signer was stopped.

        They must be before larger ones are signed: the system log may have told of them.
        """
        found: list[Checkpoint] = []
        with needed_log(self._data) as db, db.snapshot():
            for head in db.heads():
                remembered, stored = self._state.get(head.origin), db.newest_checkpoint(head.id)
                if remembered is None:
                    continue
                try:
                    if stored is not None and self._own(stored, head.origin) == remembered:
                        continue
                    self._next(db, head)
                except AuditError:
                    continue  # it is refused, and said, when it is to be signed
                found.append(remembered)
        return found

    def _before_growth(self) -> list[Checkpoint]:
        """The newest checkpoint of the system log, if that log has grown since. It tells of its own in the next one."""
        with needed_log(self._data) as db, db.snapshot():
            head = db.head(intents.SYSTEM)
            text = None if head is None else db.newest_checkpoint(head.id)
            if head is None or text is None:
                return []
            try:
                newest = self._own(text, head.origin)
            except AuditError:
                return []  # it is refused, and said, when the log is to be signed
            return [] if (head.size, head.root) == (newest.size, newest.root) else [newest]

    def _sign(self, refused: list[AuditError], *, system: bool) -> list[Checkpoint]:
        """The new checkpoints of the system log, or of all other logs. They are remembered when this returns."""
        found = self._examine(refused, system=system)
        remembered = self._state | {checkpoint.origin: checkpoint for checkpoint, _ in found}
        if remembered != self._state:
            self._save_state(remembered)
        return [checkpoint for checkpoint, is_stored in found if not is_stored]

    def _examine(self, refused: list[AuditError], *, system: bool | None) -> list[tuple[Checkpoint, bool]]:
        """The heads that may be signed, each with whether its checkpoint is stored already.

        `system` selects the system log, all other logs, or both (None). An error for each log that must not be signed
        is added to `refused`.
        """
        found: list[tuple[Checkpoint, bool]] = []
        missing = set() if system else set(self._state)
        with needed_log(self._data) as db, db.snapshot():
            for head in db.heads():
                missing.discard(head.origin)
                wanted = system in (None, head.organization == intents.SYSTEM)
                if wanted and (head.size or head.origin in self._state):
                    try:
                        found.append(self._next(db, head))
                    except AuditError as error:
                        refused.append(error)
        refused += [_refusal(origin, "the log is missing, and was signed before") for origin in sorted(missing)]
        return found

    def _next(self, db: IndexedLog, head: Head) -> tuple[Checkpoint, bool]:
        """The checkpoint of this head, and whether it is stored. Raises `signer_refused` if it must not be signed."""
        if head.origin != checkpoints.origin(self._signer.name, head.organization, head.epoch):
            raise _refusal(head.origin, f"the key is for the logs of `{self._signer.name}`")
        claimed = Checkpoint(head.origin, head.size, head.root)
        stored = db.newest_checkpoint(head.id)
        newest = None if stored is None else self._own(stored, head.origin)
        remembered = self._state.get(head.origin)
        if newest is not None and remembered is None:
            # A checkpoint is remembered before it is stored, so this memory was lost. The last signed size is unknown:
            # an older copy of the database would be continued, and a second history signed.
            raise AuditError(
                "signer_refused",
                f"`{head.origin}` was signed before, and `{self._data.signer_state}` does not say how far",
                subject=head.origin,
                hint=Hint("restore that file from a backup; if it is lost, type `gateway audit adopt`"),
            )
        if claimed == newest == remembered:
            return claimed, True  # the usual case where there are many logs
        node = tiles.node_reader(head.size, db.tile_reader(head.id))
        try:
            checkpoints.check_head(head.size, head.root, node, [remembered, newest])
        except AuditError as error:
            raise _refusal(head.origin, error.message) from error
        return claimed, claimed == newest

    def _own(self, text: str, origin: str) -> Checkpoint:
        """A checkpoint that this key signed earlier."""
        try:
            return checkpoints.verify(text, self._signer.verifier, origin)
        except AuditError as error:
            raise _refusal(origin, f"an earlier checkpoint cannot be trusted: {error.message}") from error

    def _save_state(self, state: dict[str, Checkpoint]) -> None:
        """Replace the state file. After a crash it is the old one or the new one; on return the new one is durable."""
        notes = {origin: checkpoints.sign(each, self._signer) for origin, each in state.items()}
        path = self._data.signer_state
        content = orjson.dumps({"v": 1, "notes": notes}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        try:
            with durable.replacing(path, content):
                pass
            self._state = state
        except OSError as error:
            raise AuditError("signer_refused", f"cannot write `{path}`: {error.strerror}", subject=str(path)) from error

    def _store(self, signed: Iterable[Checkpoint]) -> None:
        """Store notes in the database. Signatures are deterministic: a second attempt stores the same bytes."""
        if notes := [(checkpoints.sign(each, self._signer).encode(), each.size, each.origin) for each in signed]:
            storage.store_checkpoints(self._data, notes)


def _announcement(signed: Checkpoint) -> intents.HeadSigned:
    """The system log's entry about a checkpoint. The id follows from its content, so that it is recorded once."""
    name = hashlib.sha256(f"{signed.origin} {signed.size}".encode()).hexdigest()[:32]
    return intents.HeadSigned(
        event_id=f"ckp_{name}",
        origin=signed.origin,
        size=signed.size,
        root=base64.b64encode(signed.root).decode(),
    )


def _is_of_system(signed: Checkpoint) -> bool:
    return signed.origin.split("/")[1] == intents.SYSTEM


def _refusal(origin: str, detail: str) -> AuditError:
    return AuditError(
        "signer_refused",
        f"`{origin}` is not signed any more: {detail}",
        subject=origin,
        hint=Hint("see `gateway audit verify`; if the database was restored from a copy, its newer entries are lost"),
    )


def _damaged(data: DataDirectory) -> AuditError:
    path = str(data.signer_state)
    return AuditError(
        "signer_refused",
        f"`{path}` cannot be read as the signer's state",
        subject=path,
        hint=Hint("restore it from a backup; if there is none, remove it and type `gateway audit adopt`"),
    )


def _create(path: Path, text: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        durable.sync(path.parent)
    except FileExistsError as error:
        raise AuditError("audit_exists", f"`{path}` exists already", subject=str(path)) from error
    except OSError as error:
        raise AuditError("bad_key", f"cannot write `{path}`: {error.strerror}", subject=str(path)) from error
