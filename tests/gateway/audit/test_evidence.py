"""Evidence bundles: what they hold, both verifiers inside, and that one changed byte anywhere is refused by both."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gateway
from gateway.audit import merkle
from gateway.audit.errors import AuditError
from gateway.audit.evidence import multiproof
from gateway.audit.evidence import verify as verifier
from gateway.audit.evidence.export import ExportedBundle, Sample, Wanted, export
from gateway.audit.intents import Activated
from gateway.audit.log_files import opened_log
from gateway.audit.search import Filters
from gateway.audit.signer import load_signer
from gateway.cli import main

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

SCHEMAS = Path(gateway.__file__).parent / "schemas"
POLICY = {
    ".manifest": b'{"roots": ["a"], "metadata": {"gateway": {"entrypoint": "data.a"}}}',
    "a.rego": b'package a\n\nallow if input.resource.model == "m0"\n\ndeny contains "m1" if not allow\n',
}
DIGEST = hashlib.sha256(
    "".join(f"{hashlib.sha256(POLICY[path]).hexdigest()}  {path}\n" for path in sorted(POLICY)).encode()
).hexdigest()
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)


@dataclass
class Exporting:
    log: Log

    def bytes(self, sample: Sample | None = None, private: bool = True, **filters: Any) -> bytes:
        return self.made(sample, private, **filters)[0]

    def made(self, sample: Sample | None = None, private: bool = True, **filters: Any) -> tuple[bytes, ExportedBundle]:
        file = io.BytesIO()
        wanted = Wanted(
            filters=Filters(**{"organization": "default", **filters}), said=filters, sample=sample, private=private
        )
        key = load_signer(self.log.data)
        with opened_log(self.log.data) as db:
            done = export(db, file, wanted, signer=key, policy=lambda _: POLICY, schemas=SCHEMAS, version="1.2.3")
        return file.getvalue(), done

    @property
    def key(self) -> str:
        return str(self.log.verifier)


def fill(log: Log, make: Make, calls: int = 12) -> None:
    writer = log.writer()
    bundles = json.dumps([{"name": "a", "digest": DIGEST, "commit": "c0ffee", "effect": "grant"}])
    policy = {"activation": "act_1", "policy_commit": "c0ffee", "bundles_json": bundles}
    writer.write_sync(
        Activated(event_id="act_1", actor="local:0", activation="act_1", fields={"bundles_json": bundles})
    )
    for number in range(calls):
        agent = f"agt_{number % 3}"
        call = make.decided(agent=agent, fields={"model": f"m{number % 2}", "agent_name": f"<b>{agent}", **policy})
        writer.write_sync(call)
        writer.write_sync(make.completed(call))
    writer.close()
    log.sign()


@pytest.fixture
def exporting(log: Log, make: Make) -> Exporting:
    fill(log, make)
    return Exporting(log)


def check(data: bytes, key: str | None = None) -> verifier.Bundle:
    bundle = verifier.Bundle(data, key)
    bundle.verify()
    return bundle


def is_refused(data: bytes, key: str) -> bool:
    try:
        check(data, key)
    except (verifier.TamperedError, KeyError, TypeError, ValueError, AttributeError):
        return True
    return False


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None  # other programs can read it
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_bundle_holds_the_exact_entries_and_is_the_same_twice(exporting: Exporting) -> None:
    data, done = exporting.made()
    assert data == exporting.bytes()
    assert done.entries == len(exporting.log.entries()) + 2  # the activation and the checkpoint's announcement
    bundle = check(data, exporting.key)
    assert [each for each in bundle.entries.values() if each["org"] == "default"] == exporting.log.entries()
    assert len(bundle.inputs) == done.private_rows == 12
    assert bundle.open == 0
    assert list(bundle.policies) == [DIGEST]
    assert b"&lt;b&gt;agt_1" in members(data)["report.html"]
    assert b"<b>" not in members(data)["report.html"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [({"agent": "agt_1"}, 8), ({"model": "m0"}, 12), ({"until_ns": 2**62}, 24), ({}, 24)],
)
def test_a_decision_that_matches_brings_its_end(exporting: Exporting, filters: dict[str, Any], expected: int) -> None:
    bundle = check(exporting.bytes(**filters), exporting.key)
    assert sum(each["org"] == "default" for each in bundle.entries.values()) == expected
    assert bundle.open == 0


def test_a_mandate_brings_the_calls_under_it(log: Log, make: Make) -> None:
    writer = log.writer()
    for mandate in ("mnd_1", "mnd_2"):
        writer.write_sync(make.change(what="mandate.created", fields={"mandate": mandate}))
        call = make.decided(fields={"mandate": mandate})
        writer.write_sync(call)
        writer.write_sync(make.completed(call))
    log.sign()
    bundle = check(Exporting(log).bytes(mandate="mnd_2"))
    kinds = [each["kind"] for each in bundle.entries.values() if each["org"] == "default"]
    assert kinds == ["change", "decided", "completed"]


def test_an_approval_brings_what_was_recorded_of_it(log: Log, make: Make) -> None:
    writer = log.writer()
    for approval in ("apr_1", "apr_2"):
        writer.write_sync(make.change(event_id=approval, what="approval.requested", fields={"approval": approval}))
    writer.write_sync(make.decided(allow=False, open=False, reason="approval_required", fields={"approval": "apr_1"}))
    log.sign()
    bundle = check(Exporting(log).bytes(approval="apr_1"))
    assert [each["kind"] for each in bundle.entries.values() if each["org"] == "default"] == ["change", "decided"]


def test_private_rows_can_be_left_out(exporting: Exporting) -> None:
    data = exporting.bytes(private=False)
    assert check(data, exporting.key).inputs == {}
    assert members(data)["logs/default-1/private.txt"] == b""


def test_a_sample_is_drawn_by_its_seed_alone(exporting: Exporting) -> None:
    first, again, other = (exporting.bytes(Sample(count=5, seed=seed)) for seed in ("x", "x", "y"))
    assert first == again != other
    assert len(check(first, exporting.key).entries) >= 5
    log = json.loads(members(first)["manifest.json"])["logs"][0]
    assert log["sample"] == {"count": 5, "seed": "x"}


def test_unsigned_entries_are_left_out_and_nothing_else_is_no_bundle(exporting: Exporting, make: Make) -> None:
    exporting.log.writer().write_sync(make.change(fields={"agent": "agt_new"}))
    assert exporting.made()[1].unsigned == 1
    with pytest.raises(AuditError, match="no signed entry matches"):
        exporting.bytes(agent="agt_new")


@pytest.mark.parametrize("table", ["leaf", "private"])
def test_a_log_that_does_not_verify_goes_into_no_bundle_that_does(exporting: Exporting, table: str) -> None:
    if table == "leaf":
        exporting.log.tamper("UPDATE entry SET leaf = CAST(replace(leaf, 'agt_1', 'agt_9') AS BLOB) WHERE seq = 4")
        exporting.log.tamper("UPDATE entry SET leaf = CAST(replace(leaf, 'gpt', 'xxx') AS BLOB)")
        exporting.log.tamper("UPDATE entry SET leaf = CAST(replace(leaf, '\"ok\"', '\"no\"') AS BLOB)")
        with pytest.raises(AuditError, match="does not verify"):
            exporting.bytes()
    else:
        exporting.log.tamper("UPDATE private SET input = CAST('{}' AS BLOB)")
        assert is_refused(exporting.bytes(), exporting.key)


def test_one_changed_byte_anywhere_is_refused(exporting: Exporting) -> None:
    data, key = exporting.bytes(), exporting.key
    generator = random.Random(1)
    places = set(range(len(data) - 700, len(data))) | set(generator.sample(range(len(data)), 300))
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        begin = info.header_offset
        end = begin + 30 + len(info.filename) + info.compress_size
        places |= {*range(begin, begin + 34), *range(max(begin, end - 3), end)}
        places |= set(generator.sample(range(begin, end), 3))
    for place in sorted(places):
        changed = bytearray(data)
        changed[place] ^= 1 << generator.randrange(8)
        assert is_refused(bytes(changed), key), place
    assert is_refused(data[:-1], key)
    assert is_refused(data + b"\0", key)


def test_a_bundle_that_another_key_signed_is_refused(exporting: Exporting, new_log: Callable[[], Log]) -> None:
    assert is_refused(exporting.bytes(), str(new_log().verifier))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 21, 300])
def test_a_shared_proof_gives_the_root(size: int) -> None:
    leaves = [merkle.leaf_hash(str(number).encode()) for number in range(size)]

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return merkle.node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    root = merkle.root(size, node)
    generator = random.Random(size)
    for _ in range(10):
        indices = sorted(generator.sample(range(size), generator.randint(1, size)))
        proof = multiproof.make(indices, size, node)
        chosen = [leaves[each] for each in indices]
        assert multiproof.root(indices, chosen, size, proof) == root
        assert verifier.root_of(indices, chosen, size, b"".join(proof)) == root
        with pytest.raises(AuditError):
            multiproof.root(indices, chosen, size, [*proof, root])
        drawn = multiproof.drawn("seed", "o", size, root, 5)
        assert drawn == verifier.drawn("seed", "o", size, root, 5)
        assert len(set(drawn)) == min(5, size)


def test_the_command_writes_what_the_program_inside_verifies(
    exporting: Exporting, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    to = tmp_path / "evidence.zip"
    command = ["audit", "export", "--data", str(exporting.log.data.path), "--to", str(to), "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["entries"] > 20
    assert to.stat().st_mode & 0o077 == 0
    assert main(command) != 0  # a file that exists is kept
    assert "exists already" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["verify.py", str(to), "--public-key", exporting.key, "--no-decisions"])
    assert verifier.main() == 0
    said = capsys.readouterr().out
    assert "all 24 entries" in said
    assert "nothing was left out" in said
    assert hashlib.sha256(exporting.log.verifier.public).hexdigest() in said
    for given, code in (("dev+00000000+AAAA", 2), (f"x{exporting.key}", 2)):
        monkeypatch.setattr(sys, "argv", ["verify.py", str(to), "--public-key", given])
        assert verifier.main() == code


@pytest.mark.slow
def test_a_fresh_environment_needs_nothing_but_cryptography(exporting: Exporting, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", "cryptography"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("there is no package index here")
    data = exporting.bytes()
    (tmp_path / "verify.py").write_bytes(members(data)["verify.py"])
    (tmp_path / "b.zip").write_bytes(data)
    (tmp_path / "c.zip").write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    for name, code in (("b.zip", 0), ("c.zip", 1), ("none.zip", 2)):
        run = [python, "-I", "verify.py", name, "--public-key", exporting.key]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == code, (name, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here: apt-get install chromium-headless-shell")
def test_the_page_verifies_from_a_file_and_refuses_one_changed_byte(exporting: Exporting, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    data = exporting.bytes(Sample(count=4, seed="s"))
    (tmp_path / "verify.html").write_bytes(members(data)["verify.html"])
    (tmp_path / "b.zip").write_bytes(data)
    generator = random.Random(2)
    places = {*range(len(data) - 120, len(data)), *generator.sample(range(len(data)), 200)}
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        end = info.header_offset + 30 + len(info.filename) + info.compress_size
        places |= {info.header_offset + generator.randrange(30), end - 1, generator.randrange(info.header_offset, end)}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "verify.html").as_uri())
        page.fill("#key", exporting.key)
        page.set_input_files("#file", tmp_path / "b.zip")
        page.wait_for_selector("#verdict.valid, #verdict.bad")
        assert page.inner_text("#verdict") == "✓ the bundle is valid", page.inner_text("#result")
        assert "of 24 entries" in page.inner_text("#result")
        passed = page.evaluate(
            """async ([written, places, key]) => {
                const data = base64(written), passed = []
                for (const place of places) {
                    const changed = data.slice()
                    changed[place] ^= 1 << (place % 8)
                    try { await verify(changed, key, () => {}); passed.push(place) } catch {}
                }
                await verify(data, key, () => {})
                return passed
            }""",
            [base64.b64encode(data).decode(), sorted(places), exporting.key],
        )
        assert passed == []
        # Browsers without Ed25519 of their own.
        note = members(data)["logs/default-1/checkpoint"].decode()
        assert page.evaluate(
            """async ([note, key]) => {
                const found = await keyOf(key), [body, tail] = note.split("\\n\\n")
                const blob = base64(tail.trim().split(" ")[2]), message = encoder.encode(body + "\\n")
                const good = await verifiesHere(found.data.slice(1), blob.slice(4), message)
                message[0] ^= 1
                return [good, await verifiesHere(found.data.slice(1), blob.slice(4), message)]
            }""",
            [note, exporting.key],
        ) == [True, False]
        assert [url for url in requests if not url.startswith("file:")] == []
        browser.close()


def test_a_decision_against_the_policies_is_found_though_it_is_signed(log: Log, make: Make) -> None:
    bundles = json.dumps([{"name": "a", "digest": DIGEST, "commit": "c0ffee", "effect": "grant"}])
    writer = log.writer()
    for number, model in ((1, "m0"), (2, "m1")):
        judged = {
            "agent": {"id": "agt_one"},
            "action": "chat.completions",
            "request": {"max_output_tokens": None, "tools": []},
            "resource": {"model": model, "models": [model], "references": []},
            "time": {"now_ns": 1_800_000_000_000_000_000},
        }
        call = make.decided(
            event_id=f"dec_{number}",
            private=json.dumps(judged).encode(),
            fields={"model": model, "action": "chat.completions", "bundles_json": bundles, "recomputable": True},
        )
        writer.write_sync(call)
        writer.write_sync(make.completed(call))
    log.sign()
    again = check(Exporting(log).bytes()).judged_again()
    assert again is not None
    agree, apart, otherwise = again
    assert (agree, dict(apart)) == (1, {})
    assert otherwise == ["dec_2: recorded allowed, judged again policy_denied"]
