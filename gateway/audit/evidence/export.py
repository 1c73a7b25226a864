"""An evidence bundle: entries of one organization's log with all that proves and explains them, as one file.

It is made for people who have nothing but the file and a public key: the entries as they are, their proof for a signed
checkpoint, private rows, the policies that judged, what the system log says of both, a report, and two verifiers.
Nothing goes out that does not verify. Specification: docs/reference/evidence-bundle.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from gateway.audit import checkpoint as checkpoints
from gateway.audit import entry as entries
from gateway.audit import grants, merkle, note, search, tiles
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.errors import AuditError
from gateway.audit.evidence import multiproof
from gateway.audit.evidence.archive import STORED, Archive
from gateway.audit.evidence.report import EvidenceReport
from gateway.audit.intents import SYSTEM, closing_id
from gateway.audit.log_reader import Head, IndexedLog
from gateway.audit.search import Filters
from gateway.errors import Hint

FORMAT: Final = "gateway-evidence-bundle/1"
_PAGE: Final = 500
_HERE: Final = Path(__file__).parent
_SCHEMAS: Final = ("audit-entry", "input", "decision")

Policy: TypeAlias = Callable[[str], Mapping[str, bytes] | None]
"""The files of the policy bundle with a digest; None if they are not kept any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """So many entries, drawn from the newest checkpoint by a seed."""

    count: int
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The entries that are exported. `said` is the choice in the words of whoever made it, for the manifest."""

    filters: Filters
    said: Mapping[str, Any]
    sample: Sample | None = None
    private: bool = True
    system: bool = True
    most: int | None = None


@dataclass(slots=True)
class ExportedBundle:
    """The numbers of a bundle that was written. `unsigned` entries match, but are newer than the checkpoint."""

    entries: int = 0
    private_rows: int = 0
    policies: int = 0
    unsigned: int = 0
    missing_policies: int = 0


@dataclass(slots=True)
class _SignedLog:
    head: Head
    note: str
    signed: Checkpoint
    positions: dict[int, int]  # by index


def export(
    db: IndexedLog,
    file: IO[bytes],
    wanted: Wanted,
    *,
    signer: note.NoteSigner,
    policy: Policy,
    schemas: Path,
    version: str,
) -> ExportedBundle:
    """Write a bundle. The same log with the same newest checkpoints gives the same bytes."""
    with db.snapshot():
        return _Export(db, file, wanted, signer, policy).write(schemas, version)


class _Export:
    def __init__(
        self, db: IndexedLog, file: IO[bytes], wanted: Wanted, signer: note.NoteSigner, policy: Policy
    ) -> None:
        self._db, self._wanted, self._signer, self._policy = db, wanted, signer, policy
        self._archive = Archive(file)
        self._done = ExportedBundle()
        self._activations: set[str] = set()
        self._digests: set[str] = set()
        self._organization = str(wanted.filters.organization)
        self._report = EvidenceReport(self._organization, wanted.said)

    def write(self, schemas: Path, version: str) -> ExportedBundle:
        logs = self._logs(self._organization)
        self._select(logs)
        system = self._logs(SYSTEM) if self._wanted.system and self._organization != SYSTEM else []
        for name in ("README.md", "verify.py", "verify.html"):
            self._archive.add(name, (_HERE / name).read_bytes())
        for name in _SCHEMAS:
            self._archive.add(f"schemas/{name}.schema.json", (schemas / f"{name}.schema.json").read_bytes())
        self._archive.add("keys/signing.pub", f"{self._signer.verifier}\n".encode(), method=STORED)
        written = [self._log(each) for each in logs]
        self._announcements(logs, system)
        written += [self._log(each) for each in system]
        self._policies()
        self._archive.add("report.html", self._report.page(written, str(self._signer.verifier)).encode())
        self._manifest(written, version)
        self._archive.close()
        return self._done

    def _logs(self, organization: str) -> list[_SignedLog]:
        """The logs of an organization that are signed, each with its newest checkpoint."""
        found = []
        for head in self._db.heads():
            text = self._db.newest_checkpoint(head.id) if head.organization == organization else None
            if text is not None:
                signed = checkpoints.verify(text, self._signer.verifier, head.origin)
                found.append(_SignedLog(head, text, signed, {}))
        if not found and organization == self._organization:
            message = f"`{organization}` has no signed log"
            hint = "a running gateway signs every few seconds"
            raise AuditError("no_checkpoint", message, subject=organization, hint=hint, kind="not_found")
        return found

    # ---- which entries

    def _select(self, logs: Sequence[_SignedLog]) -> None:
        if (sample := self._wanted.sample) is not None:
            newest = logs[-1]
            indices = multiproof.drawn(
                sample.seed, newest.head.origin, newest.signed.size, newest.signed.root, sample.count
            )
            chosen = self._drawn(newest.head.id, indices)
        else:
            chosen = self._matching()
        by_id = {each.head.id: each for each in logs}
        every: set[int] = set()
        for found in chosen:
            every.add(found.position)
            for related in self._related(found.entry):
                if (also := search.by_event(self._db, related, self._organization)) is not None:
                    every.add(also.position)
        for position in sorted(every):
            log_id, seq = self._db.execute("SELECT log_id, seq FROM entry WHERE id = ?", (position,)).fetchone()
            log = by_id.get(log_id)
            if log is None or seq >= log.signed.size:
                self._done.unsigned += 1
            else:
                log.positions[seq] = position
        if not any(each.positions for each in logs):
            hint = "see `gateway audit list` with the same filters; a running gateway signs every few seconds"
            raise AuditError("nothing_selected", "no signed entry matches", hint=Hint(hint), kind="not_found")

    def _matching(self) -> Iterator[search.FoundEntry]:
        before: int | None = None
        count = 0
        while True:
            page = search.matching(self._db, _PAGE, self._wanted.filters, 2**62, before)
            count += len(page.found)
            if self._wanted.most is not None and count > self._wanted.most:
                message = f"more than {self._wanted.most:,} entries match"
                hint = "choose a shorter time or a sample, or export on the gateway's machine"
                raise AuditError("bundle_too_large", message, hint=hint)
            yield from page.found
            if page.older is None:
                return
            before = page.older

    def _drawn(self, log_id: int, indices: Iterable[int]) -> Iterator[search.FoundEntry]:
        for index in indices:
            query = "SELECT event_id FROM entry WHERE log_id = ? AND seq = ?"
            row = self._db.execute(query, (log_id, index)).fetchone()
            found = None if row is None else search.by_event(self._db, row[0])
            if found is None:
                raise _damaged(f"entry {index} is missing")
            yield found

    def _related(self, entry: entries.Entry) -> Iterator[str]:
        """The ids of entries without which this one is not understood."""
        kind, approval = entry.get("kind"), entry.get("approval")
        if kind == "decided" and entry.get("open"):
            yield closing_id(str(entry["id"]))
        elif kind == "completed":
            yield str(entry["decision"])
        if kind == "decided" and isinstance(approval, str):
            yield approval
            yield grants.grant_id(approval)
            yield grants.use_id(approval, int(str(entry.get("approval_use", 1))))

    def _announcements(self, logs: Sequence[_SignedLog], system: Sequence[_SignedLog]) -> None:
        """Choose the entries of the system log about these checkpoints and the policies in force."""
        for log in system:
            for each in logs:
                query = """
                    SELECT seq, id FROM entry WHERE log_id = ? AND kind = 'checkpoint' AND seq < ?
                       AND instr(leaf, ?) > 0 AND instr(leaf, ?) > 0 ORDER BY seq DESC LIMIT 1
                """
                members = (f'"origin":"{each.head.origin}"'.encode(), f'"size":{each.signed.size},'.encode())
                row = self._db.execute(query, (log.head.id, log.signed.size, *members)).fetchone()
                if row is not None:
                    log.positions[row[0]] = row[1]
            for activation in self._activations:
                query = "SELECT seq, id FROM entry WHERE log_id = ? AND event_id = ? AND seq < ?"
                row = self._db.execute(query, (log.head.id, activation, log.signed.size)).fetchone()
                if row is not None:
                    log.positions[row[0]] = row[1]

    # ---- what is written

    def _log(self, log: _SignedLog) -> dict[str, Any]:
        where = f"logs/{log.head.organization}-{log.head.epoch}"
        self._archive.add(f"{where}/checkpoint", log.note.encode(), method=STORED)
        indices = sorted(log.positions)
        hashes: list[bytes] = []
        self._archive.add(f"{where}/entries.txt", self._leaves(log, indices, hashes))
        node = tiles.node_reader(log.signed.size, self._db.tile_reader(log.head.id))
        proof = multiproof.make(indices, log.signed.size, node)
        if multiproof.root(indices, hashes, log.signed.size, proof) != log.signed.root:
            raise _damaged("the entries are not those of the signed tree")
        self._archive.add(f"{where}/proof.bin", b"".join(proof), method=STORED)
        before = self._done.private_rows
        self._archive.add(f"{where}/private.txt", self._private(log, indices) if self._wanted.private else b"")
        self._done.entries += len(indices)
        drawn = self._wanted.sample if log.head.organization == self._organization else None
        return {
            "directory": where,
            "origin": log.head.origin,
            "size": log.signed.size,
            "entries": len(indices),
            "private_rows": self._done.private_rows - before,
        } | ({} if drawn is None else {"sample": {"count": drawn.count, "seed": drawn.seed}})

    def _leaves(self, log: _SignedLog, indices: Sequence[int], hashes: list[bytes]) -> Iterator[bytes]:
        for index, leaf in self._rows("SELECT id, leaf FROM entry WHERE id IN ({})", log, indices):
            entry = entries.decode(leaf)
            hashes.append(merkle.leaf_hash(leaf))
            self._report.add(entry)
            if entry["kind"] == "decided":
                self._activations.add(str(entry.get("activation")))
                self._digests.update(each["digest"] for each in json.loads(str(entry.get("bundles_json", "[]"))))
            yield b"%d\t%s\n" % (index, leaf)

    def _private(self, log: _SignedLog, indices: Sequence[int]) -> Iterator[bytes]:
        query = "SELECT entry_id, salt, input FROM private WHERE entry_id IN ({})"
        for index, salt, value in self._rows(query, log, indices):
            if type(salt) is not bytes or b"\n" in (value or b""):
                raise _damaged(f"the private row of entry {index} has another form")
            self._done.private_rows += 1
            yield b"%d\t%s\t%s\n" % (index, salt.hex().encode(), value or b"")

    def _rows(self, query: str, log: _SignedLog, indices: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """The rows beside these entries, in their order, each with the index of its entry."""
        for page in _batched(indices):
            positions = [log.positions[each] for each in page]
            marks = ",".join("?" * len(positions))
            rows = {row[0]: row[1:] for row in self._db.execute(query.format(marks), positions)}
            for index, position in zip(page, positions, strict=True):
                if position in rows:
                    yield index, *rows[position]

    def _policies(self) -> None:
        for digest in sorted(self._digests):
            files = self._policy(digest)
            if files is None:
                self._done.missing_policies += 1
                continue
            self._done.policies += 1
            for path in sorted(files):
                self._archive.add(f"policies/{digest}/{path}", files[path])

    def _manifest(self, written: Sequence[Mapping[str, Any]], version: str) -> None:
        manifest = {
            "format": FORMAT,
            "program": version,
            "public_key": str(self._signer.verifier),
            "organization": self._organization,
            "selection": dict(self._wanted.said),
            "private_rows": self._wanted.private,
            "logs": list(written),
            "files": [{"path": each.path, "size": each.size, "sha256": each.digest} for each in self._archive.members],
        }
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()
        self._archive.add("manifest.json", text, method=STORED)
        digest = self._archive.members[-1].digest
        signed = note.sign(f"gateway evidence bundle 1\nsha256 {digest}\n", [self._signer])
        self._archive.add("manifest.note", signed.encode(), method=STORED)


def _batched(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(indices), _PAGE):
        yield indices[at : at + _PAGE]


def _damaged(why: str) -> AuditError:
    return AuditError("audit_damaged", f"the log does not verify: {why}", hint=Hint("see `gateway audit verify`"))
