"""The vault's key and the peppers, changed over HTTP: under the registry's lock, by whoever still may, on record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlmodel import Session

from gateway.control.problems import Problem
from gateway.registry.database import GuardedRegistry
from gateway.registry.secret_keys import peppers, vault_rotation
from tests.gateway.conftest import ACTOR, Home
from tests.gateway.control.conftest import Client, Control

Change = Callable[[GuardedRegistry, Home], object]

CHANGES: dict[str, Change] = {
    "vault": lambda registry, home: vault_rotation.rotate(registry, home.data.keys, ACTOR),
    "added": lambda registry, home: peppers.add(registry, home.data.keys, ACTOR),
    "removed": lambda registry, home: peppers.remove(registry, home.data.keys, ACTOR, 1),
}


def files(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.data.keys.iterdir() if path.is_file()}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_files_of_keys_change_inside_the_transaction_and_for_nobody_whose_rights_have_ended(
    home: Home, change: Change
) -> None:
    peppers.add(home.registry, home.data.keys, ACTOR)
    before = files(home)

    def refuse(_session: Session) -> None:
        raise Problem(401, "bad_credentials", "the token was revoked meanwhile")

    with pytest.raises(Problem):
        change(GuardedRegistry(home.registry, [refuse]), home)
    assert files(home) == before
    began: list[dict[str, bytes]] = []
    ended: list[dict[str, bytes]] = []
    guarded = GuardedRegistry(
        home.registry, [lambda _: began.append(files(home))], [lambda _: ended.append(files(home))]
    )
    change(guarded, home)
    assert began[0] == before
    assert ended[0] != before  # two at a time would see each other's half of it
    assert ended[-1] == files(home)


def test_a_rotation_says_why_and_makes_no_key_for_a_wrong_reason(control: Control, owner: Client) -> None:
    before = owner("GET", "/vault").ok()["key"]
    assert owner("PUT", "/vault", {"reason": "two\nlines"}).problem(422) == "invalid_reason"
    assert owner("GET", "/vault").ok()["key"] == before
    assert owner("PUT", "/vault", {"reason": "yearly"}).ok()["key"] != before
    entries = [each["entry"] for each in owner("GET", "/audit/entries", organization="system").ok()["items"]]
    told = [(each["what"], each["actor"], each.get("reason")) for each in entries if "what" in each]
    actor = f"operator:{owner('GET', '/me').ok()['id']}"
    assert [each for each in told if each[0].startswith("vault.")] == [
        ("vault.rotated", actor, "yearly"),
        ("vault.rewrapped", actor, "yearly"),
    ]


@pytest.mark.parametrize("name", ["9" * 5000, "-1", "one", "%D9%A1"])
def test_a_pepper_that_is_no_number_is_not_there(owner: Client, name: str) -> None:
    assert owner("DELETE", f"/peppers/{name}").problem(404) == "unknown_pepper"


def test_an_operator_of_one_organization_has_nothing_to_do_with_them(control: Control, owner: Client) -> None:
    before = files(control.home)
    stranger = control.operator("sam", "owner", "default")
    for method, path, body in (
        ("GET", "/vault", None),
        ("PUT", "/vault", {}),
        ("GET", "/peppers", None),
        ("POST", "/peppers", None),
        ("DELETE", "/peppers/1", None),
        ("POST", "/keys/leaked", {"keys": ["aig_sk_none"]}),
    ):
        assert stranger(method, path, body).problem(403) == "forbidden"
    assert files(control.home) == before
