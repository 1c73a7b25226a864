"""The vault: what is sealed opens for its own row, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.registry.port import UpstreamRow
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import SealedPlace, Vault
from tests.gateway.conftest import ACTOR, ORG, Home, at_once

VAULT = Vault(bytes(range(32)))
PLACE = SealedPlace("default", "openai", "ups_1", 1)

parts = st.text(st.characters(codec="utf-8", exclude_characters="|"), max_size=20)
places = st.builds(SealedPlace, parts, parts, parts, st.integers(0, 1000))


def refusal(sealed: bytes, place: SealedPlace = PLACE, vault: Vault = VAULT) -> str:
    with pytest.raises(GatewayError) as caught:
        vault.open(sealed, place)
    assert caught.value.code == "secret_unreadable"
    return caught.value.message


@given(secret=st.text(st.characters(codec="utf-8")), place=places)
def test_open_undoes_seal(secret: str, place: SealedPlace) -> None:
    sealed = VAULT.seal(secret, place)
    assert VAULT.open(sealed, place) == secret
    assert len(secret) < 4 or secret.encode() not in sealed
    assert VAULT.seal(secret, place) != sealed


@given(place=places, other=places)
def test_it_opens_in_no_other_place(place: SealedPlace, other: SealedPlace) -> None:
    sealed = VAULT.seal("sk-secret", place)
    if other != place:
        assert "belongs to another row" in refusal(sealed, other)


@pytest.mark.parametrize(
    "other",
    [
        PLACE._replace(organization="acme"),
        PLACE._replace(provider="anthropic"),
        PLACE._replace(row="ups_2"),
        PLACE._replace(version=2),
    ],
    ids=lambda place: "|".join(map(str, place)),
)
def test_each_part_of_the_place_counts(other: SealedPlace) -> None:
    assert "belongs to another row" in refusal(VAULT.seal("sk-secret", PLACE), other)


def test_parts_cannot_run_into_each_other() -> None:
    with pytest.raises(ValueError, match="two places"):
        VAULT.seal("sk-secret", PLACE._replace(organization="a|b"))


@given(st.data())
def test_one_changed_byte_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(VAULT.seal("sk-secret", PLACE))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    refusal(bytes(sealed))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(sealed: bytes) -> None:
    refusal(sealed)


def test_a_cut_secret_is_refused() -> None:
    sealed = VAULT.seal("sk-secret", PLACE)
    for length in range(len(sealed)):
        refusal(sealed[:length])


def test_another_key_is_named_as_the_cause() -> None:
    assert "sealed under another key" in refusal(VAULT.seal("sk-secret", PLACE), vault=Vault(bytes(32)))


def test_the_key_is_a_private_file(tmp_path: Path) -> None:
    sealed = Vault.create(tmp_path).seal("sk-secret", PLACE)
    assert (tmp_path / "kek").stat().st_mode & 0o777 == 0o600
    assert Vault.load(tmp_path).open(sealed, PLACE) == "sk-secret"
    (tmp_path / "kek").chmod(0o644)
    with pytest.raises(GatewayError, match="open to other users"):
        Vault.load(tmp_path)


def add(home: Home, name: str, secret: str, **more: object) -> None:
    add_upstream(
        home.registry,
        home.vault,
        actor=ACTOR,
        organization=ORG,
        name=name,
        provider="openai",
        base_url="https://api.example.com/v1",
        secret=secret,
        **more,  # type: ignore[arg-type]  # keywords pass through
    )


def place_of(row: UpstreamRow) -> SealedPlace:
    return SealedPlace(row.organization, row.provider, row.id, row.version)


def test_a_ciphertext_moved_to_another_row_does_not_open(home: Home) -> None:
    add(home, "mine", "sk-mine")
    add(home, "theirs", "sk-theirs")
    with home.registry.write() as session:
        session.connection().exec_driver_sql(
            "UPDATE upstream SET secret = (SELECT secret FROM upstream WHERE name = 'theirs') WHERE name = 'mine'"
        )
    reader = RegistryReader(home.data.registry_db)
    mine, theirs = at_once(reader.upstreams())
    reader.close()
    assert mine.secret == theirs.secret
    assert home.vault.open(theirs.secret or b"", place_of(theirs)) == "sk-theirs"
    assert "belongs to another row" in refusal(mine.secret or b"", place_of(mine), home.vault)


def test_an_older_secret_of_the_same_row_does_not_come_back(home: Home) -> None:
    add(home, "mine", "sk-old")
    reader = RegistryReader(home.data.registry_db)
    old = at_once(reader.upstreams())[0]
    add(home, "mine", "sk-new", replace=True)
    new = at_once(reader.upstreams())[0]
    reader.close()
    assert (new.id, new.version) == (old.id, 2)
    assert home.vault.open(new.secret or b"", place_of(new)) == "sk-new"
    refusal(old.secret or b"", place_of(new), home.vault)


def test_no_secret_is_in_the_files(home: Home) -> None:
    add(home, "mine", "sk-very-secret-text")
    home.registry.close()
    for path in home.data.path.rglob("*"):
        if path.is_file():
            assert b"sk-very-secret-text" not in path.read_bytes(), path


def test_a_key_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    """A worker knew only the key of its start, and could not open what was sealed after a rotation."""
    worker = Vault.create(tmp_path)
    before = worker.seal("sk-before", PLACE)
    (tmp_path / "kek").rename(tmp_path / "kek.old")
    after = Vault.create(tmp_path).seal("sk-after", PLACE)
    assert worker.open(after, PLACE) == "sk-after"
    assert worker.open(before, PLACE) == "sk-before"
    assert Vault.load(tmp_path).open(worker.seal("sk-new", PLACE), PLACE) == "sk-new"
    assert "sealed under another key" in refusal(VAULT.seal("sk-x", PLACE), vault=worker)
