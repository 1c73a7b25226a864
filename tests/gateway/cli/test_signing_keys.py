"""`gateway keys generate` and `gateway keys add-public`: keys of agents that sign their requests."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.identity import public_keys
from gateway.identity.message_signatures import thumbprint
from tests.gateway.conftest import Home, Run


def test_a_pair_is_made_added_listed_and_revoked(at: Run, home: Home, tmp_path: Path) -> None:
    home.agent()
    file = tmp_path / "bot.pem"
    done = at(
        "keys", "generate", "--agent", "bot", "--out", str(file), "--expires", "30d", "--model", "gpt-4o*", "--json"
    )
    made = done.json
    name = thumbprint(public_keys.read_private(file).public_key())
    assert (made["key_id"], made["method"], made["agent"], made["file"]) == (name, "signature", "bot", str(file))
    assert made["scope"] == {"models": ["gpt-4o*"]}
    assert made["expires"]
    assert file.stat().st_mode & 0o777 == 0o600
    home.key()
    home.key()
    assert at("keys", "create", "bot").complains().startswith("agent `bot` has 2 live keys already")
    listed = at("keys", "list", "bot", "--json").json
    assert [each["method"] for each in listed] == ["signature", "api_key", "api_key"]
    assert f"{name}  active" in at("agents", "show", "bot").out
    assert "PRIVATE" not in at("keys", "list").out
    assert at("keys", "revoke", name).out == f"revoked key {name} ({made['id']}) of agent bot\n"
    assert at("keys", "revoke", name).out == "the key is already revoked\n"
    entries = [orjson.loads(line)["entry"] for line in at("audit", "list", "--json").out.splitlines()]
    added = next(each for each in entries if each.get("what") == "key.added")
    assert (added["credential"], added["credential_method"], added["key"]) == (name, "signature", made["id"])


@pytest.mark.slow
def test_a_public_key_comes_from_where_the_agent_runs(at: Run, home: Home, tmp_path: Path) -> None:
    home.agent()
    home.agent("other")
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    done = at("keys", "generate", "--out", str(private), "--type", "p256")
    assert done.code == 0
    public.write_text(done.out)
    name = thumbprint(public_keys.read_public(public))
    assert at("keys", "add-public", "--agent", "bot", str(public)).out.startswith(f"added public key {name} (key_")
    assert at("keys", "add-public", "--agent", "bot", str(public)).complains() == (
        "agent `bot` has this public key already"
    )
    assert at("keys", "add-public", "--agent", "other", str(public)).complains() == (
        "this public key was registered before: make another one: each agent has its own, and a revoked one does not "
        "come back"
    )
    at("keys", "revoke", name)
    assert "registered before" in at("keys", "add-public", "--agent", "bot", str(public)).complains()


def test_a_public_key_comes_through_a_pipe(at: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.agent()
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for text, says in ((b"nothing", "is not the PEM of a public key"), (pem, ""), (pem, "has this public key already")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        done = at("keys", "add-public", "--agent", "bot", "-")
        assert says in (done.complains() if says else done.out)
        assert (done.code == 0) is (not says)


@pytest.mark.slow
def test_mistakes(at: Run, home: Home, tmp_path: Path) -> None:
    home.agent()
    file = tmp_path / "key.pem"
    assert "unknown agent `nobody`" in at("keys", "generate", "--agent", "nobody", "--out", str(file)).complains()
    assert not file.exists()
    for number in range(2):
        assert at("keys", "generate", "--agent", "bot", "--out", str(tmp_path / f"{number}.pem")).code == 0
    assert (
        "has 2 live public keys already: revoke one first"
        in at("keys", "generate", "--agent", "bot", "--out", str(file)).complains()
    )
    assert not file.exists()
    held = tmp_path / "0.pem"
    assert "cannot be created: file exists" in at("keys", "generate", "--agent", "bot", "--out", str(held)).complains()
    assert "holds a private key" in at("keys", "add-public", "--agent", "bot", str(held)).complains()
    assert "--agent" in at("keys", "add-public", str(held)).complains(2)
    assert "without --agent" in at("keys", "generate", "--out", str(file), "--expires", "1h").complains(2)
    assert (
        "no upstream has the action"
        in at("keys", "generate", "--agent", "bot", "--out", str(file), "--action", "chat.completionz").complains()
    )
    assert not file.exists()


@pytest.mark.slow
def test_rotation_is_for_keys_that_the_gateway_makes(at: Run, home: Home, tmp_path: Path) -> None:
    home.agent()
    made = at("keys", "generate", "--agent", "bot", "--out", str(tmp_path / "key.pem"), "--json").json
    assert "is a public key, which the gateway cannot make" in at("keys", "rotate", made["id"]).complains()
    assert "has no key that works" in at("keys", "rotate", "--agent", "bot").complains()
    home.key()
    assert at("keys", "rotate", "--agent", "bot").code == 0
    assert [each["status"] for each in at("keys", "list", "--json").json] == ["active", "retiring", "active"]
