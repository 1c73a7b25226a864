"""Signed bundles: what is verified, and that nothing gets through that is not exactly what was signed."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

import policy_engine as pe
from policy_engine import bundle
from policy_engine.bundle_files import SIGNATURES, directory_files
from policy_engine.bundle_signatures import digest, signature
from policy_engine.cli.app import run
from tests.policy_engine.rsa_keys import OTHER_RSA, RSA

FILES = {
    "t.rego": "package t\np := data.a.x\n",
    "a/data.json": '{"x": 1.50}',
    "a/b/data.yaml": "k: [1, two]\n",
    ".manifest": '{"roots": ["t", "a"]}',
    "README.md": "what it is for\n",
}
SECRET = "a secret that nobody knows"


def everything(_name: str) -> bool:
    return True


def private(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()  # type: ignore[no-any-return]


def public(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()  # type: ignore[no-any-return]


def another(key: Any) -> Any:
    """A key of the same kind."""
    if isinstance(key, rsa.RSAPrivateKey):
        return OTHER_RSA
    return ec.generate_private_key(key.curve) if hasattr(key, "curve") else ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return tmp_path / "bundle"


def sign(root: Path, key: str = SECRET, algorithm: str = "HS256", scope: str = "") -> None:
    (root / SIGNATURES).write_bytes(signature(directory_files(root, everything), key, algorithm, scope))


def token_of(root: Path) -> str:
    return json.loads((root / SIGNATURES).read_text("utf-8"))["signatures"][0]  # type: ignore[no-any-return]


def encoded(part: object) -> str:
    octets = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def forge(root: Path, header: object, payload: object, secret: str = SECRET) -> None:
    """Write a signature by hand, as a signer that is none of ours would."""
    signed = f"{encoded(header)}.{encoded(payload)}"
    mac = hmac.digest(secret.encode(), signed.encode(), "sha256")
    (root / SIGNATURES).write_text(json.dumps({"signatures": [f"{signed}.{encoded(mac)}"]}), "utf-8")


def refused(source: Any, match: str, key: pe.BundleKey | None = None) -> None:
    with pytest.raises(pe.PolicyError, match=match) as caught:
        bundle.read(source, key=key or pe.BundleKey(SECRET, "HS256"))
    assert caught.value.code == "bundle_signature_error"


# ---- digests


@pytest.mark.parametrize(
    ("name", "content", "hashed"),
    [
        ("a.rego", b'{ "b": 1 }\n', b'{ "b": 1 }\n'),
        ("data.yml", b"b: 1\n", b"b: 1\n"),
        ("b.json", b'{ "b": 1 }', b'{ "b": 1 }'),
        ("x/data.json", b' {"b" : [1 , 2.50, -0, 1E3],\n"a": null, "c": {"z": {}, "y": []}} ',
         b'{"a":null,"b":[1,2.50,-0,1E3],"c":{"y":[],"z":{}}}'),
        ("data.json", '{"<&>": "\u00e9\u2028\u2029\x7f\\u0000\\b\\n\\"\\\\\\u003c"}'.encode(),
         '{"<&>":"\u00e9\\u2028\\u2029\x7f\\u0000\\b\\n\\"\\\\<"}'.encode()),
        ("data.json", '{"\U0001f600": 1, "\uffff": 2}'.encode(), '{"\uffff":2,"\U0001f600":1}'.encode()),
        ("data.json", b'"abc"', b'"abc"'),
        ("data.yaml", b"b: 1\na: [yes, 1.5]\n", b'{"a":[true,1.5],"b":1}'),
        (".manifest", b'{"roots": [], "revision": ""}', b'{"revision":"","roots":[]}'),
    ],
)  # fmt: skip
def test_a_digest_is_of_the_value_where_there_is_one(name: str, content: bytes, hashed: bytes) -> None:
    assert digest(name, content, "SHA-256") == hashlib.sha256(hashed).hexdigest()


@pytest.mark.parametrize(
    ("algorithm", "bits"),
    [("MD5", 128), ("SHA-1", 160), ("SHA-224", 224), ("SHA-256", 256), ("SHA-384", 384), ("SHA-512", 512),
     ("SHA-512-224", 224), ("SHA-512-256", 256)],
)  # fmt: skip
def test_the_digests_that_opa_knows(root: Path, algorithm: str, bits: int) -> None:
    files = [
        {"name": name, "hash": digest(name, content, algorithm), "algorithm": algorithm}
        for name, content in directory_files(root, everything)
    ]
    assert all(len(file["hash"]) * 4 == bits for file in files)
    forge(root, {"alg": "HS256"}, {"files": files})
    assert bundle.read(root, key=pe.BundleKey(SECRET, "HS256")).data == {"a": {"x": 1.5, "b": {"k": [1, "two"]}}}


# ---- what verifies


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *((name, RSA) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("ES512", ec.generate_private_key(ec.SECP521R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_every_algorithm(root: Path, algorithm: str, key: Any) -> None:
    sign(root, private(key), algorithm, "write")
    found = bundle.read(root, key=pe.BundleKey(public(key), algorithm, "write"))
    assert list(found.modules) == ["t.rego"]
    refused(root, "made with another key", pe.BundleKey(public(another(key)), algorithm, "write"))


def test_a_certificate_holds_a_public_key(root: Path) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    day = datetime.datetime(2024, 1, 1)
    unsigned = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(RSA.public_key())
    unsigned = unsigned.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(1))
    certificate = unsigned.sign(RSA, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    sign(root, private(RSA), "RS256")
    bundle.read(root, key=pe.BundleKey(certificate))
    sign(root, private(OTHER_RSA), "RS256")
    refused(root, "made with another key", pe.BundleKey(certificate))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_secrets(root: Path, algorithm: str) -> None:
    sign(root, SECRET, algorithm)
    assert bundle.read(root, key=pe.BundleKey(SECRET, algorithm)).manifest == {"roots": ["t", "a"]}
    refused(root, "made with another key", pe.BundleKey(SECRET + " ", algorithm))


def test_an_archive_is_verified(root: Path, tmp_path: Path) -> None:
    sign(root)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, f"/{path.relative_to(root)}", recursive=False)
    key = pe.BundleKey(SECRET, "HS256")
    assert bundle.read(tmp_path / "x.tar.gz", key=key) == bundle.read(root, key=key)
    assert pe.load(tmp_path / "x.tar.gz", key=key).entrypoint("data.t.p")() == 1.5
    refused(tmp_path / "x.tar.gz", "made with another key", pe.BundleKey("another", "HS256"))


def test_a_tree_in_git_is_verified(root: Path, tmp_path: Path) -> None:
    from dulwich import porcelain

    sign(root)
    repository = porcelain.init(str(tmp_path))
    porcelain.add(repository, [str(path) for path in root.rglob("*") if path.is_file()])
    commit = porcelain.commit(repository, b"one", author=b"a <a@example.org>", committer=b"a <a@example.org>")
    source = (tmp_path, commit.decode(), "bundle")
    assert list(bundle.read(source, key=pe.BundleKey(SECRET, "HS256")).modules) == ["t.rego"]
    refused(source, "made with another key", pe.BundleKey("another", "HS256"))
    repository.close()


def test_white_space_in_data_does_not_matter(root: Path) -> None:
    sign(root)
    (root / "a/data.json").write_text('{\n  "x" : 1.50\n}\n', "utf-8")
    (root / "a/b/data.yaml").write_text("# the same\nk:\n- 1\n- two\n", "utf-8")
    bundle.read(root, key=pe.BundleKey(SECRET, "HS256"))


def test_a_signature_as_opa_build_writes_it(root: Path) -> None:
    """With a plugin's name, a key's id in both places, and claims that are information only."""
    sign(root)
    payload = decoded(token_of(root).split(".")[1])
    forge(root, {"alg": "HS256", "kid": "k", "typ": "JWT"}, payload | {"keyid": "k", "iss": "x", "iat": 1592248027})
    text = json.loads((root / SIGNATURES).read_text("utf-8")) | {"plugin": "_default"}
    (root / SIGNATURES).write_text(json.dumps(text), "utf-8")
    bundle.read(root, key=pe.BundleKey(SECRET, "HS256"))


# ---- signatures that fail


def test_without_a_key(root: Path) -> None:
    bundle.read(root)
    sign(root)
    with pytest.raises(pe.PolicyError, match="no key to verify it"):
        pe.load(root)
    assert pe.load(root, skip_verification=True).entrypoint("data.t.p")() == 1.5


def test_an_unsigned_bundle(root: Path) -> None:
    refused(root, "the bundle is not signed")
    (root / "a" / SIGNATURES).write_text("{}", "utf-8")
    refused(root, "the bundle is not signed")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda root: (root / "t.rego").write_text("package t\np := 2\n", "utf-8"),
            "t.rego has changed since",
        ),
        (
            lambda root: (root / "a/data.json").write_text('{"x": 1.5}', "utf-8"),
            "a/data.json has changed since",
        ),
        (lambda root: (root / "README.md").write_text("x", "utf-8"), "README.md has changed since"),
        (lambda root: (root / "u.rego").write_text("package u\n", "utf-8"), "u.rego is not in the signature"),
        (lambda root: (root / "note.txt").write_text("x", "utf-8"), "note.txt is not in the signature"),
        (lambda root: (root / ".hidden").mkdir() or (root / ".hidden/x").write_text("x"), ".hidden/x is not in the"),
        (lambda root: (root / "t.rego").unlink(), "t.rego is signed, but is not in the bundle"),
        (lambda root: (root / ".manifest").unlink(), ".manifest is signed, but is not in the bundle"),
        (lambda root: (root / "a/data.json").rename(root / "data.json"), "data.json is not in the signature"),
    ],
)
def test_any_change_to_the_files(root: Path, change: Callable[[Path], object], match: str) -> None:
    sign(root)
    change(root)
    refused(root, match)


@pytest.mark.parametrize(("signed", "demanded"), [("", "write"), ("write", ""), ("write", "read")])
def test_another_scope(root: Path, signed: str, demanded: str) -> None:
    sign(root, scope=signed)
    refused(root, "another scope", pe.BundleKey(SECRET, "HS256", demanded))


@pytest.mark.parametrize("algorithm", ["none", "None", "", "hs256", "HS1", "RS007", "A128KW"])
def test_algorithms_that_are_none(root: Path, algorithm: str) -> None:
    sign(root)
    refused(root, "not a signature algorithm", pe.BundleKey(SECRET, algorithm))
    with pytest.raises(pe.PolicyError, match="not a signature algorithm"):
        signature([], SECRET, algorithm)


@pytest.mark.parametrize("claimed", ["none", "HS512", "RS256", "hs256", 7, None])
def test_the_token_does_not_choose_the_algorithm(root: Path, claimed: object) -> None:
    sign(root)
    payload = decoded(token_of(root).split(".")[1])
    forge(root, {"alg": claimed}, payload)
    refused(root, "does not use HS256")


def test_a_public_key_is_no_secret(root: Path) -> None:
    sign(root)
    payload = decoded(token_of(root).split(".")[1])
    forge(root, {"alg": "HS256"}, payload, secret=public(RSA))
    refused(root, "requires a secret, not a key in PEM", pe.BundleKey(public(RSA), "HS256"))
    refused(root, "does not use RS256", pe.BundleKey(public(RSA), "RS256"))
    forge(root, {"alg": "RS256"}, payload, secret=public(RSA))
    refused(root, "made with another key", pe.BundleKey(public(RSA), "RS256"))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [("", "HS256"), ("", "RS256"), (SECRET, "RS256"), (private(RSA), "RS256"), ("/no/such/file.pem", "ES256"),
     ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "RS256")],
)  # fmt: skip
def test_keys_that_are_none(root: Path, key: str, algorithm: str) -> None:
    sign(root)
    refused(root, "requires", pe.BundleKey(key, algorithm))


def test_a_key_for_another_algorithm(root: Path) -> None:
    sign(root, private(RSA), "RS256")
    refused(root, "does not use PS256", pe.BundleKey(public(RSA), "PS256"))
    key = ec.generate_private_key(ec.SECP256R1())
    refused(root, "made with another key", pe.BundleKey(public(key), "RS256"))
    with pytest.raises(pe.PolicyError, match="another kind") as caught:
        signature([], private(key), "RS256")
    assert caught.value.code == "bundle_signature_error"


def test_no_signature_at_the_end(root: Path) -> None:
    sign(root)
    header, payload, _ = token_of(root).split(".")
    for token in (f"{header}.{payload}.", f"{encoded({'alg': 'none'})}.{payload}."):
        (root / SIGNATURES).write_text(json.dumps({"signatures": [token]}), "utf-8")
        refused(root, "does not use|made with another key")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[]", "not an object"),
        ("{}", "exactly one token"),
        ('{"signatures": []}', "exactly one token"),
        ('{"signatures": ["a.b.c", "a.b.c"]}', "exactly one token"),
        ('{"signatures": [1]}', "exactly one token"),
        ('{"signatures": "a.b.c"}', "exactly one token"),
        ('{"signatures": ["a.b.c"], "plugin": "kms"}', "signed by a plugin"),
        ('{"signatures": ["ab"]}', "token is malformed"),
        ('{"signatures": ["a.b"]}', "token is malformed"),
        ('{"signatures": ["a.b.c.d"]}', "token is malformed"),
        ('{"signatures": ["@.e30.e30"]}', "token is malformed"),
        ('{"signatures": ["e30.e30.e30"]}', "does not use HS256"),
        ('{"signatures": ["e3.e30.e30"]}', "header is malformed"),
        ('{"signatures": ["W10.e30.e30"]}', "header is not an object"),
    ],
)
def test_malformed_signatures(root: Path, content: str, match: str) -> None:
    (root / SIGNATURES).write_text(content, "utf-8")
    refused(root, match)


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (b"nonsense", "payload is malformed"),
        ([], "payload is not an object"),
        ({}, "list of files is malformed"),
        ({"files": {}}, "list of files is malformed"),
        ({"files": [1]}, "list of files is malformed"),
        ({"files": [{"name": "t.rego"}]}, "list of files is malformed"),
        ({"files": [{"name": "t.rego", "hash": "", "algorithm": "SHA-256"}] * 2}, "list of files is malformed"),
        ({"scope": 7, "files": []}, "another scope"),
        ({"files": [{"name": ".manifest", "hash": "00", "algorithm": "SHA-3"}]}, "unknown hash function"),
        ({"files": [{"name": ".manifest", "hash": "", "algorithm": "SHA-256"}]}, "changed since it was signed"),
    ],
)
def test_signed_nonsense(root: Path, payload: object, match: str) -> None:
    forge(root, {"alg": "HS256"}, payload)
    refused(root, match)


def test_what_a_token_demands_and_nobody_understands(root: Path) -> None:
    sign(root)
    forge(root, {"alg": "HS256", "crit": ["b64"], "b64": False}, decoded(token_of(root).split(".")[1]))
    refused(root, "extensions that are not supported")


def test_half_a_surrogate_pair_could_be_exchanged(root: Path) -> None:
    (root / "a/data.json").write_text('{"x": "\\ud800"}', "utf-8")
    with pytest.raises(pe.PolicyError, match="half a surrogate pair"):
        sign(root)


# ---- the program


def policy(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(arguments)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out + captured.err


def test_signing_and_verifying_with_the_program(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("private.pem").write_text(private(RSA), "utf-8")
    Path("public.pem").write_text(public(RSA), "utf-8")
    verified = ("--verification-key", "public.pem", "--scope", "prod")
    assert policy(capsys, "check", "bundle", *verified) == (
        2,
        "bundle/.signatures.json:1:1: bundle_signature_error: the bundle is not signed\n"
        "  hint: sign it with `policy sign`\n",
    )
    assert policy(capsys, "sign", "bundle", "--signing-key", "private.pem", "--scope", "prod") == (0, "")
    assert sorted(path.name for path in root.iterdir() if path.is_file()) == sorted(
        [".manifest", SIGNATURES, "README.md", "t.rego"]
    )
    assert policy(capsys, "check", "bundle", *verified) == (0, "")
    assert policy(capsys, "test", "bundle", *verified)[0] == 0
    assert policy(capsys, "eval", "data.t.p", "-d", "bundle", "-f", "pretty", *verified) == (0, "1.50\n")
    # Without a key the tools look at no signature, as OPA's do.
    (root / "t.rego").write_text("package t\np := 2\n", "utf-8")
    assert policy(capsys, "eval", "data.t.p", "-d", "bundle", "-f", "pretty") == (0, "2\n")
    code, output = policy(capsys, "eval", "data.t.p", "-d", "bundle", "-f", "pretty", *verified)
    assert code == 2
    assert "t.rego has changed since" in output


def test_what_the_program_refuses(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loose.rego").write_text("package loose\n", "utf-8")
    code, output = policy(capsys, "check", "loose.rego", "--verification-key", SECRET, "--signing-alg", "HS256")
    assert code == 2
    assert "`loose.rego` is not in a bundle, so no signature covers it" in output
    assert policy(capsys, "check", "bundle", "--scope", "x")[0] == 2
    assert policy(capsys, "sign", "nowhere", "--signing-key", SECRET)[0] == 2
    assert policy(capsys, "sign", "bundle")[0] == 2
    code, output = policy(capsys, "sign", "bundle", "--signing-key", SECRET)
    assert code == 2
    assert "not a private key in PEM" in output
    assert not (root / SIGNATURES).exists()
