"""Verify an evidence bundle of an agent identity gateway, offline: `python verify.py BUNDLE.zip --public-key KEY`.

This file needs Python 3.11 and the package `cryptography`, and imports nothing of the gateway. If the gateway's program
is installed as well, it also judges the decisions again. Exit codes: 0 valid, 1 tampered with, 2 it could not be
checked, 3 valid, but decisions are in it whose end is not. Format: docs/reference/evidence-bundle.md.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import hashlib
import hmac
import importlib
import json
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "gateway-evidence-bundle/1"
NOT_SHOWN = """\
What this does not show:
- that nothing was left out. The entries are proven one by one; others may have been recorded and not selected. Only a
  log of which all entries are here, up to its checkpoint, is complete up to there.
- that the log is not one of two. Compare the checkpoints with those that somebody else has kept.
- when anything happened. Times are those of the gateway's own clock; only their order within a log is proven.
- whose key it is. Compare it with one that you have from elsewhere.
- that this verifier is honest, if it came with the bundle. Take it from a place that you trust."""
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")


class TamperedError(Exception):
    """The bundle is not as it was made. The text says what is wrong."""


class UncheckableError(Exception):
    """Nothing can be said about the bundle. The text says why."""


def fail(text: str) -> NoReturn:
    raise TamperedError(text)


# ---- the archive


def members(data: bytes) -> dict[str, bytes]:
    """The members as they lie in the archive, after a byte that says how each is packed.

    Every byte is accounted for.
    """
    try:
        return _members(data)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        fail(f"the archive is damaged: {error}")


def _members(data: bytes) -> dict[str, bytes]:
    end = len(data) - _END.size
    count, length, begin = _END.unpack(data[end:])[4:7] if end >= 0 else fail("the archive is cut")
    if data[end:] != _END.pack(b"PK\x05\x06", 0, 0, count, count, length, begin, 0) or begin + length != end:
        fail("the archive's end is not as it was written")
    found: dict[str, bytes] = {}
    at, expected = begin, 0
    for _ in range(count):
        fields = _CENTRAL.unpack(data[at : at + _CENTRAL.size])
        method, crc, packed, size, name_length, offset = fields[4], *fields[7:11], fields[16]
        raw = data[at + _CENTRAL.size : at + _CENTRAL.size + name_length]
        name = raw.decode()
        common = (20, 0x800, method, 0, 0x21, crc, packed, size, name_length, 0)
        central = _CENTRAL.pack(b"PK\x01\x02", 20, *common, 0, 0, 0, 0, offset) + raw
        local = _LOCAL.pack(b"PK\x03\x04", *common) + raw
        if data[at : at + len(central)] != central or data[offset : offset + len(local)] != local:
            fail(f"the archive's header of `{name}` is not as it was written")
        content = data[offset + len(local) : offset + len(local) + packed]
        if offset != expected or len(content) != packed or method not in (0, 8) or name in found:
            fail(f"the archive's member `{name}` is not where it was written")
        found[name] = bytes([method]) + content
        at, expected = at + len(central), offset + len(local) + packed
    if at != end or expected != begin:
        fail("the archive has bytes that belong to no member")
    return found


def unpack(member: bytes) -> bytes:
    if member[0] == 0:
        return member[1:]
    try:
        unpacker = zlib.decompressobj(-15)
        content = unpacker.decompress(member[1:]) + unpacker.flush()
    except zlib.error as error:
        fail(f"a member cannot be unpacked: {error}")
    if not unpacker.eof or unpacker.unused_data:
        fail("a member is packed in another way than it was written")
    return content


# ---- signed notes


class Key:
    """A public key, written `<name>+<id>+<base64>`."""

    def __init__(self, text: str) -> None:
        try:
            self.name, identifier, encoded = text.strip().split("+", 2)
            data = base64.b64decode(encoded, validate=True)
        except ValueError:
            fail("a public key is written `<name>+<id>+<base64>`")
        if len(data) != 33 or data[0] != 1 or self.id_as(self.name, data).hex() != identifier:
            fail("the public key's id does not belong to its name and key")
        self.data = data

    @staticmethod
    def id_as(name: str, data: bytes) -> bytes:
        return hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.data[1:]).hexdigest()

    def text_of(self, note: bytes, name: str) -> str:
        """The text of a note that this key has signed under a name."""
        text, mark, tail = note.decode("utf-8", "replace").rpartition("\n\n")
        lines = tail.split("\n")
        if not mark or lines.pop() != "" or len(lines) != 1:
            fail("a note has one signature line, which ends it")
        begin = f"\u2014 {name} "
        try:
            blob = base64.b64decode(lines[0].removeprefix(begin), validate=True)
        except ValueError:
            blob = b""
        if not lines[0].startswith(begin) or blob[:4] != self.id_as(name, self.data):
            fail(f"a note is not signed by this key as `{name}`")
        if base64.b64encode(blob).decode() != lines[0].removeprefix(begin):
            fail("a signature is written in two ways")
        try:
            Ed25519PublicKey.from_public_bytes(self.data[1:]).verify(blob[4:], f"{text}\n".encode())
        except InvalidSignature:
            fail(f"the signature of `{name}` does not verify")
        return f"{text}\n"


# ---- trees


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(indices: list[int], leaves: list[bytes], size: int, proof: bytes) -> bytes:
    """The root that leaf hashes have together with the hashes of the parts without any."""
    hashes: Iterator[bytes] = iter([proof[at : at + 32] for at in range(0, len(proof), 32)])

    def part(start: int, end: int, first: int, last: int) -> bytes:
        if first == last:
            return next(hashes, b"")
        if end - start == 1:
            return leaves[first]
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        between = bisect.bisect_left(indices, middle, first, last)
        left = part(start, middle, first, between)
        return node_hash(left, part(middle, end, between, last))

    found = part(0, size, 0, len(indices)) if size else hashlib.sha256(b"").digest()
    if next(hashes, None) is not None:
        fail("a proof has more hashes than belong to it")
    return found


def drawn(seed: str, origin: str, size: int, root: bytes, count: int) -> list[int]:
    """The indices that a seed draws from a checkpoint."""
    count, found, number = min(count, size), set[int](), 0
    begin = hashlib.sha256(f"gateway sample 1\n{seed}\n{origin}\n{size}\n{root.hex()}\n".encode()).digest()
    fair = 2**64 - 2**64 % size if size else 0
    while len(found) < count:
        value = int.from_bytes(hashlib.sha256(begin + number.to_bytes(8, "big")).digest()[:8], "big")
        number += 1
        if value < fair:
            found.add(value % size)
    return sorted(found)


# ---- the bundle


class Bundle:
    """A bundle under verification. `say` takes lines for people."""

    def __init__(self, data: bytes, key: str | None) -> None:
        self._raw = members(data)
        if "keys/signing.pub" not in self._raw or "manifest.json" not in self._raw:
            fail("this is no evidence bundle, or an incomplete one")
        enclosed = unpack(self._raw["keys/signing.pub"]).decode("utf-8", "replace")
        try:
            self.key = Key(enclosed if key is None else key)
        except TamperedError as error:
            if key is None:
                raise
            raise UncheckableError(f"the key that was given is none: {error}") from error
        self.manifest = self._manifest()
        if self.key.data != Key(enclosed).data:
            fail("the key inside is another one")
        self.entries: dict[str, dict[str, Any]] = {}  # by event id
        self.inputs: dict[str, bytes] = {}  # private rows, by event id
        self.lines: list[str] = []
        self.open = 0

    def _manifest(self) -> dict[str, Any]:
        text = unpack(self._raw["manifest.json"])
        signed = self.key.text_of(unpack(self._raw.get("manifest.note", b"\x00")), self.key.name)
        if signed != f"gateway evidence bundle 1\nsha256 {hashlib.sha256(text).hexdigest()}\n":
            fail("the manifest is not the one that was signed")
        manifest = json.loads(text)
        if manifest["format"] != FORMAT:
            raise UncheckableError(f"this verifier knows {FORMAT}, not {manifest['format']}: use a newer one")
        listed = {each["path"]: each["sha256"] for each in manifest["files"]}
        for path, member in self._raw.items():
            if path in ("manifest.json", "manifest.note"):
                if member[0] != 0:
                    fail(f"`{path}` is packed in another way than it was written")
            elif hashlib.sha256(member[1:]).hexdigest() != listed.pop(path, ""):
                fail(f"`{path}` was changed, or is not one of the bundle's files")
        if listed:
            fail(f"`{next(iter(listed))}` is missing")
        return dict(manifest)

    def file(self, path: str) -> bytes:
        return unpack(self._raw[path]) if path in self._raw else fail(f"`{path}` is missing")

    def verify(self) -> None:
        for log in self.manifest["logs"]:
            self._log(log)
        self._related()
        self._policies()

    def _log(self, log: dict[str, Any]) -> None:
        where, origin = log["directory"], log["origin"]
        lines = self.key.text_of(self.file(f"{where}/checkpoint"), origin).split("\n")
        if lines[0] != origin or not origin.startswith(f"{self.key.name}/") or int(lines[1]) != log["size"]:
            fail(f"the checkpoint of `{origin}` is one of another tree")
        size, root = int(lines[1]), base64.b64decode(lines[2], validate=True)
        indices: list[int] = []
        leaves: list[bytes] = []
        ids: dict[int, dict[str, Any]] = {}
        for line in self.file(f"{where}/entries.txt").split(b"\n")[:-1]:
            number, _, leaf = line.partition(b"\t")
            index = int(number)
            if index >= size or (indices and index <= indices[-1]):
                fail(f"{origin}: entry {index} is out of order")
            entry = json.loads(leaf)
            if entry["id"] in self.entries or entry["org"] != origin.split("/")[1]:
                fail(f"{origin}: entry {index} is there twice, or of another log")
            indices.append(index)
            leaves.append(hashlib.sha256(b"\x00" + leaf).digest())
            self.entries[entry["id"]] = entry
            ids[index] = entry
        if root_of(indices, leaves, size, self.file(f"{where}/proof.bin")) != root:
            fail(f"{origin}: the entries are not those of the signed tree")
        if (sample := log.get("sample")) is not None:
            missing = set(drawn(sample["seed"], origin, size, root, sample["count"])) - set(indices)
            if missing:
                fail(f"{origin}: entry {min(missing)} was drawn and is missing")
        self._private(origin, where, ids)
        all_of = "all" if len(indices) == size else f"{len(indices):,} of"
        self.lines.append(f"{origin}: {all_of} {size:,} entries, signed; checkpoint root {lines[2]}")

    def _private(self, origin: str, where: str, ids: dict[int, dict[str, Any]]) -> None:
        for line in self.file(f"{where}/private.txt").split(b"\n")[:-1]:
            number, salt, value = line.split(b"\t", 2)
            entry = ids.get(int(number)) or fail(f"{origin}: a private row belongs to no entry")
            promised = hmac.digest(bytes.fromhex(salt.decode()), b"input\x00" + value, "sha256").hex()
            if promised != entry.get("input_commitment"):
                fail(f"{origin}: entry {int(number)} commits to another private row")
            self.inputs[entry["id"]] = value

    def _related(self) -> None:
        """What entries say of one another."""
        for name, entry in self.entries.items():
            if entry["kind"] == "completed" and entry["decision"] not in self.entries:
                self.lines.append(f"note: the decision that `{name}` ends is not here")
            if entry["kind"] == "decided" and entry["open"] and f"end_{name.removeprefix('dec_')}" not in self.entries:
                self.open += 1
            activation = self.entries.get(entry.get("activation", ""))
            if entry["kind"] == "decided" and activation is not None:
                known = {(each["digest"], each["commit"]) for each in json.loads(activation["bundles_json"])}
                used = {(each["digest"], each["commit"]) for each in json.loads(entry.get("bundles_json", "[]"))}
                pinned = {each for each in used if each[1] != entry.get("policy_commit")}
                if used - known - pinned:
                    fail(f"`{name}` was judged by a policy that its activation does not have")

    def _policies(self) -> None:
        found: dict[str, dict[str, bytes]] = {}
        for path in self._raw:
            if path.startswith("policies/"):
                digest, _, inside = path.removeprefix("policies/").partition("/")
                found.setdefault(digest, {})[inside] = self.file(path)
        for digest, files in found.items():
            text = "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
            if hashlib.sha256(text.encode()).hexdigest() != digest:
                fail(f"the policy {digest} is another one")
        self.policies = found

    def judged_again(self) -> tuple[int, Counter[str], list[str]] | None:
        """How many decisions come out as recorded, why others cannot be compared, and those that come out otherwise.

        None if the program that judges is not installed.
        """
        try:
            # By name: this file also runs where the gateway is not installed.
            court_of = importlib.import_module("gateway.policy.reexecution").Court
        except ImportError:
            return None
        agree, apart, otherwise = 0, Counter[str](), []
        with tempfile.TemporaryDirectory() as directory:
            for digest, files in self.policies.items():
                for path, content in files.items():
                    place = Path(directory, digest, path)
                    if not place.resolve().is_relative_to(Path(directory).resolve()):
                        fail(f"the policy {digest} has a file outside of it")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content)
            court = court_of(Path(directory))
            for name, entry in self.entries.items():
                if entry["kind"] == "decided":
                    kept = self.inputs.get(name)
                    agrees, problem = court.again(entry, json.loads(kept) if kept else None)
                    if agrees:
                        agree += 1
                    elif agrees is None:
                        apart[problem] += 1
                    else:
                        otherwise.append(f"{name}: {problem}")
        return agree, apart, otherwise


def main() -> int:
    options = argparse.ArgumentParser(description="Verify an evidence bundle, offline.")
    options.add_argument("bundle", metavar="BUNDLE.zip")
    options.add_argument("--public-key", metavar="KEY|FILE", help="the key that must have signed, from elsewhere")
    options.add_argument("--no-decisions", action="store_true", help="do not judge decisions again")
    given = options.parse_args()
    try:
        key = given.public_key
        if key is not None and Path(key).is_file():
            key = Path(key).read_text("utf-8")
        data = Path(given.bundle).read_bytes()
    except OSError as error:
        print(f"it could not be checked: {error}", file=sys.stderr)
        return 2
    try:
        bundle = Bundle(data, key)
        bundle.verify()
        decisions = None if given.no_decisions else bundle.judged_again()
    except UncheckableError as error:
        print(f"it could not be checked: {error}", file=sys.stderr)
        return 2
    except TamperedError as error:
        print(f"✗ the bundle was tampered with: {error}")
        return 1
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        print(f"✗ the bundle is damaged: {type(error).__name__}: {error}")
        return 1
    return told(bundle, decisions, key)


def told(bundle: Bundle, decisions: tuple[int, Counter[str], list[str]] | None, key: str | None) -> int:
    for line in bundle.lines:
        print(f"  {line}")
    print(f"  {len(bundle.inputs):,} private rows are those that their entries commit to")
    print(f"  {len(bundle.policies):,} policies are those that the entries name")
    otherwise: list[str] = []
    if decisions is None:
        print("  decisions were not judged again: that takes the gateway's own program")
    else:
        agree, apart, otherwise = decisions
        print(f"  {agree:,} decisions judged again, with the recorded verdict")
        for problem, count in apart.most_common():
            print(f"  {count:,} decisions cannot be compared: {problem}")
        for each in otherwise:
            print(f"✗ decided otherwise than the policies say: {each}")
    if not otherwise:
        print("✓ the bundle is valid" + (f", {bundle.open:,} decisions have no end in it" if bundle.open else ""))
    print(f"  checked with the key {bundle.key.name}, SHA-256 {bundle.key.fingerprint}")
    if key is None:
        print("! that key came with the bundle: compare it with one that you have from elsewhere (--public-key)")
    print(NOT_SHOWN)
    return 1 if otherwise else 3 if bundle.open else 0


if __name__ == "__main__":
    sys.exit(main())
