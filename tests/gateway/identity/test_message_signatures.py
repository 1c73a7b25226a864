"""Signatures of messages: the vectors of the standards, and keys that nobody may have."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.errors import GatewayError
from gateway.identity import message_signatures, public_keys
from gateway.identity.message_signatures import PublicKey, sign, signature_base, thumbprint, verify

# RFC 9421, B.1.4 and B.2.6.
KEY_B14 = "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs="
PRIVATE_B14 = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF"
COMPONENTS_B26 = (
    ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
    ("@method", "POST"),
    ("@path", "/foo"),
    ("@authority", "example.com"),
    ("content-type", "application/json"),
    ("content-length", "18"),
)
PARAMETERS_B26 = (
    '("date" "@method" "@path" "@authority" "content-type" "content-length")'
    ';created=1618884473;keyid="test-key-ed25519"'
)
SIGNATURE_B26 = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="

# Public keys that standards print, by thumbprint: x, or x and y.
PUBLISHED = {
    "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U": ("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs",),
    "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": ("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",),
    "ydQXMtvbsOsZyFir-Y7A8t7fKEM1gbKPvyFkdpu4fvI": (
        "qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA",
        "Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0",
    ),
    "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U": (
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    ),
    "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s": (
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    ),
}

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def coordinate(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=")


def published(parts: tuple[str, ...]) -> PublicKey:
    if len(parts) == 1:
        return Ed25519PublicKey.from_public_bytes(coordinate(parts[0]))
    x, y = (int.from_bytes(coordinate(each), "big") for each in parts)
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def test_the_vector_of_the_standard() -> None:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(KEY_B14))
    base = signature_base(COMPONENTS_B26, PARAMETERS_B26)
    signature = base64.b64decode(SIGNATURE_B26)
    assert verify(key, signature, base)
    assert not verify(key, signature, base.replace(b"POST", b"GET"))
    private = serialization.load_der_private_key(base64.b64decode(PRIVATE_B14), None)
    assert isinstance(private, Ed25519PrivateKey)
    assert sign(private, base) == signature


def test_the_text_that_is_signed() -> None:
    parameters = message_signatures.parameters(
        created=1, expires=61, nonce="n" * 16, keyid="k" * 43, algorithm="ed25519"
    )
    base = message_signatures.request_base("POST", "Gateway:8080", "/v1/x", "beta=true", "sha-256=:AA==:", parameters)
    assert base.decode() == (
        '"@method": POST\n"@authority": gateway:8080\n"@path": /v1/x\n"@query": ?beta=true\n'
        '"content-digest": sha-256=:AA==:\n'
        '"@signature-params": ("@method" "@authority" "@path" "@query" "content-digest");created=1;expires=61;'
        f'nonce="{"n" * 16}";keyid="{"k" * 43}";alg="ed25519";tag="aig"'
    )
    # RFC 9530, appendix D.
    assert message_signatures.content_digest(b'{"hello": "world"}\n') == (
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    )


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_a_signature_is_of_one_text_by_one_key(kind: public_keys.KeyType) -> None:
    key, other = public_keys.generate(kind), public_keys.generate(kind)
    signature = sign(key, b"text")
    assert len(signature) == 64
    assert verify(key.public_key(), signature, b"text")
    assert not verify(key.public_key(), signature, b"Text")
    assert not verify(other.public_key(), signature, b"text")
    assert not verify(key.public_key(), bytes(64), b"text")


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_that_everybody_has(name: str, tmp_path: Path) -> None:
    key = published(PUBLISHED[name])
    assert thumbprint(key) == name
    assert name in public_keys.PUBLISHED
    with pytest.raises(GatewayError, match="everybody has it"):
        public_keys.read_public(written(tmp_path, key))


def test_points_of_a_small_order(tmp_path: Path) -> None:
    """The list is complete: it has every encoding of every y whose points are of an order that divides 8."""
    listed = {int.from_bytes(each, "little") % P for each in public_keys._SMALL_ORDER}
    found = {y for y in listed if _order_divides_8(y)}
    assert found == listed
    assert len(found) == 5  # 1, 2, 4, and twice 8: together with the signs of x there are eight points
    for text in public_keys._SMALL_ORDER:
        for sign_bit in (0, 0x80):
            raw = text[:31] + bytes([text[31] | sign_bit])
            with pytest.raises(GatewayError, match="small order"):
                public_keys.read_public(written(tmp_path, Ed25519PublicKey.from_public_bytes(raw)))


def _order_divides_8(y: int) -> bool:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "not on the curve"
    for _ in range(3):
        product = D * x * x * y * y % P
        x, y = (2 * x * y * pow(1 + product, -1, P) % P, (y * y + x * x) * pow(1 - product, -1, P) % P)
    return (x, y) == (0, 1)


def written(directory: Path, key: PublicKey) -> Path:
    path = directory / "public.pem"
    path.write_text(public_keys.public_pem(key))
    return path


def test_files_of_keys(tmp_path: Path) -> None:
    key = public_keys.generate("p256")
    path = tmp_path / "key.pem"
    public_keys.write_private(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert thumbprint(public_keys.read_private(path).public_key()) == thumbprint(key.public_key())
    assert thumbprint(public_keys.read_public(written(tmp_path, key.public_key()))) == thumbprint(key.public_key())
    assert public_keys.encode(public_keys.decode(public_keys.encode(key.public_key()))) == public_keys.encode(
        key.public_key()
    )
    with pytest.raises(GatewayError, match="cannot be created: file exists"):
        public_keys.write_private(path, key)
    with pytest.raises(GatewayError, match="holds a private key"):
        public_keys.read_public(path)
    path.chmod(0o640)
    with pytest.raises(GatewayError, match="open to other users"):
        public_keys.read_private(path)


def test_files_that_hold_no_key_of_an_agent(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.touch(0o600)
    pem, format_, plain = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        path.write_bytes(key.private_bytes(pem, format_, plain))
        with pytest.raises(GatewayError, match="Ed25519 or P-256"):
            public_keys.read_private(path)
        path.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
        with pytest.raises(GatewayError, match="Ed25519 or P-256"):
            public_keys.read_public(path)
    locked = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(pem, format_, locked))
    with pytest.raises(GatewayError, match="passphrase"):
        public_keys.read_private(path)
    for text in (b"", b"key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        path.write_bytes(text)
        for read in (public_keys.read_private, public_keys.read_public):
            with pytest.raises(GatewayError, match="is not the PEM of a"):
                read(path)
    with pytest.raises(GatewayError, match="no such file"):
        public_keys.read_public(tmp_path / "missing.pem")


def test_a_client_needs_httpx_and_cryptography_alone() -> None:
    """`gateway.client` works where nothing else of the gateway's dependencies is installed."""
    program = (
        "import sys, gateway.client\n"
        "print(*sorted({each.split('.')[0] for each in sys.modules} & set(sys.argv[1:])))\n"
        "print(*sorted(each for each in sys.modules if each.startswith('gateway.')))"
    )
    others = ["orjson", "sqlmodel", "sqlalchemy", "starlette", "uvicorn", "aiohttp", "typer", "lark", "yaml", "re2"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, *others],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    heavy, mine = done.stdout.splitlines()
    assert heavy == ""
    assert set(mine.split()) <= {
        *("gateway.client", "gateway.client.auth", "gateway.client.signing", "gateway.errors", "gateway.identity"),
        *("gateway.identity.message_signatures", "gateway.identity.public_keys"),
    }
