"""Keys from a variable or a command: what is read, what is refused without being repeated, and new keys."""

from __future__ import annotations

import base64
import stat
import sys
from pathlib import Path

import pytest

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.registry.secret_keys import vault_rotation
from gateway.secrets import key_source, vault
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import SealedPlace, Vault, identity
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR, Home
from tests.rigs.registry.vault_rotation import ALL, content_key, fill, secrets

PLACE = SealedPlace("default", "openai", "ups_1", 1)
OLD, NEW = bytes(range(32)), bytes(range(1, 33))


def text(*keys: bytes) -> str:
    return "\n".join(base64.b64encode(key).decode() for key in keys)


def ids(*keys: bytes) -> list[str]:
    return [identity(key).hex() for key in keys]


@pytest.fixture
def printing(tmp_path: Path) -> tuple[str, Path]:
    """A command that prints a file."""
    return f"{sys.executable} -c 'import sys; print(open(sys.argv[1]).read())' {tmp_path}/given", tmp_path / "given"


def use(home: Home, **settings: str) -> None:
    lines = [f"{name} = '''{value}'''\n" for name, value in settings.items()]
    home.data.settings_file.write_text("".join(lines))


def test_a_variable_gives_the_key(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    use(home, kek_env="VAULT_KEY")
    monkeypatch.setenv("VAULT_KEY", text(NEW, OLD))
    loaded = Vault.load(home.data.keys)
    assert loaded.id == identity(NEW).hex()
    assert loaded.open(Vault(OLD).seal("sk-old", PLACE), PLACE) == "sk-old"
    assert loaded.open(home.vault.seal("sk-file", PLACE), PLACE) == "sk-file"  # the file opens what it sealed
    assert Vault(NEW).open(loaded.seal("sk-new", PLACE), PLACE) == "sk-new"


def test_a_command_gives_the_key_and_is_asked_again(
    home: Home, printing: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, given = printing
    use(home, kek_command=command)
    given.write_text(text(OLD))
    running = Vault.load(home.data.keys)
    assert running.id == identity(OLD).hex()
    given.write_text(text(NEW, OLD))
    sealed = Vault.load(home.data.keys).seal("sk-new", PLACE)
    unused = Vault(bytes(32)).seal("sk-lost", PLACE)
    assert running.missed([None, sealed, unused, Vault(OLD).seal("sk-old", PLACE)]) == {
        identity(NEW),
        identity(bytes(32)),
    }
    monkeypatch.setattr(running, "_pauses", {identity(NEW): float("inf")})
    with pytest.raises(GatewayError, match="another key") as caught:  # it was asked a moment ago
        running.open(sealed, PLACE)
    assert "let `kek_command` give the key" in caught.value.hint
    monkeypatch.setattr(running, "_pauses", {})
    assert running.open(sealed, PLACE) == "sk-new"
    assert running.id == identity(NEW).hex()


def test_a_failing_command_is_not_run_for_every_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "COMMAND_PAUSE", 1e9)
    runs = tmp_path / "runs"
    counting = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(1)"
    broken = Vault(OLD, KeySource(tmp_path, command=(sys.executable, "-c", counting, str(runs))))
    sealed = Vault(NEW).seal("sk", PLACE)
    for expected in ("exit code 1", "another key", "another key"):
        with pytest.raises(GatewayError, match=expected):
            broken.open(sealed, PLACE)
    assert runs.read_text() == "x"


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (python("print('c2VjcmV0')"), "gives as key 1 something other than 32 bytes in base64"),
        (python(f"print({text(OLD)!r}, 's3cret!')"), "gives as key 2 something other"),
        (python("import os; os.write(1, b's3cret' + bytes([255, 0]))"), "gives as key 1 something other"),
        (python("print()"), "prints no key"),
        (python("import sys; print('s3cret'); print('s3cret', file=sys.stderr); sys.exit(3)"), "failed: exit code 3"),
        (python("import os; os.kill(os.getpid(), 9)"), "failed: killed by signal 9"),
        (("/no/such/program", "s3cret"), "cannot be started: no such file or directory"),
        (("a\0b",), "cannot be started: a part of it has a NUL character"),
    ],
)
def test_a_command_of_no_use(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        KeySource(tmp_path, command=command).read()
    assert f"the vault's key: `kek_command` {expected}" in caught.value.message
    shown = f"{caught.value!r} {caught.value.message} {caught.value.hint}"
    assert "s3cret" not in shown
    assert "c2VjcmV0" not in shown
    assert capfd.readouterr() == ("", "")


def test_a_command_must_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "SECONDS", 0.01)
    with pytest.raises(GatewayError, match=r"did not end within 0\.01 s"):
        KeySource(tmp_path, command=python("import time; time.sleep(60)")).read()


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "is not set"), ("", "is not set"), ("s3cret", "gives as key 1")]
)
def test_a_variable_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str
) -> None:
    monkeypatch.delenv("VAULT_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("VAULT_KEY", value)
    with pytest.raises(GatewayError, match=expected) as caught:
        KeySource(tmp_path, "VAULT_KEY").read()
    assert "the variable `VAULT_KEY`" in caught.value.message
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_no_repr_has_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_KEY", text(OLD))
    source = KeySource(tmp_path, "VAULT_KEY")
    shown = f"{source!r} {source} {source.read()!r} {Vault.load(tmp_path, source)!r}"
    assert text(OLD) not in shown
    assert repr(OLD)[2:-1] not in shown


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"AIG_KEK_ENV": "A", "AIG_KEK_COMMAND": "b"}, "kek_env and kek_command exclude each other"),
        ({"AIG_KEK_ENV": text(OLD)}, "kek_env must be the name of a variable"),
        ({"AIG_KEK_ENV": "AIG_KEY"}, "and not begin with AIG_"),
        ({"AIG_KEK_COMMAND": "print 's3cret"}, "AIG_KEK_COMMAND must be a list of texts"),
    ],
)
def test_settings_that_do_not_go_together(env: dict[str, str], expected: str) -> None:
    with pytest.raises(GatewayError) as caught:
        load_settings({}, env)
    assert expected in caught.value.message
    assert text(OLD) not in caught.value.message
    assert "s3cret" not in caught.value.message


def test_a_command_is_a_list_in_the_file_and_words_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('kek_command = ["print-key", "a b"]\n')
    assert load_settings({}, {}, file).kek_command == ("print-key", "a b")
    assert load_settings({}, {"AIG_KEK_COMMAND": "print-key 'a b'"}).kek_command == ("print-key", "a b")
    file.write_text("kek_command = [1]\n")
    with pytest.raises(GatewayError, match="must be a list of texts"):
        load_settings({}, {}, file)


def test_a_process_of_the_gateway_has_the_source_that_it_was_started_with(home: Home) -> None:
    use(home, kek_env="VAULT_KEY")
    settings = load_settings({"data": home.data.path}, {})
    use(home)
    assert KeySource.of(settings) == KeySource(DataDirectory(home.data.path).keys, "VAULT_KEY")
    assert not KeySource.configured(home.data.keys).outside


def test_from_the_file_to_a_command_and_to_a_newer_key(home: Home, printing: tuple[str, Path]) -> None:
    content = fill(home)
    file = Vault.load(home.data.keys).id
    command, given = printing
    use(home, kek_command=command)
    for keys in ((OLD,), (NEW, OLD)):
        given.write_text(text(*keys))
        before = vault_rotation.state(home.registry, home.data.keys)
        assert (before.key, before.older, before.left) == (*ids(keys[0]), [*ids(*keys[1:]), file], 8)
        assert before.where == dict.fromkeys(ids(*keys), "`kek_command`") | {file: "keys/kek"}
        done = vault_rotation.rotate(home.registry, home.data.keys, ACTOR)
        assert (done.key, done.continued, sum(done.sealed.values())) == (*ids(keys[0]), False, 8)
        assert vault_rotation.state(home.registry, home.data.keys).left == 0
    # Nothing else is needed, and no file was touched.
    given.write_text(text(NEW))
    (home.data.keys / "kek").rename(home.data.path / "away")
    opened = Vault.load(home.data.keys)
    assert secrets(home, opened) == ALL
    assert content_key(home, opened) == content
    again = vault_rotation.rotate(home.registry, home.data.keys, ACTOR)
    assert (again.key, sum(again.sealed.values()), again.source) == (*ids(NEW), 0, "`kek_command`")
    assert stat.S_IMODE((home.data.path / "away").stat().st_mode) == 0o600


def test_a_command_sees_neither_settings_nor_the_token_of_this_program(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AIG_TOKEN", "AIG_SERVER"):
        monkeypatch.setenv(name, "aig_op_secret")
    program = "import os; os._exit(7 if any(name.startswith('AIG_') for name in os.environ) else 8)"
    with pytest.raises(GatewayError, match="exit code 8"):
        KeySource(home.data.keys, "", (sys.executable, "-c", program)).read()
