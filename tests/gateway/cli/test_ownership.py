"""The owner of a data directory: no command reads one that another user may have written, however it is planted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from gateway import cli, ownership
from gateway.audit.log_files import log_directory
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.management.client import ApiRequest
from gateway.management.in_process import InProcess
from gateway.processes.creation import create
from gateway.processes.openness import access, too_open
from gateway.settings import load_settings
from gateway.storage.liveness import OnlyOne

STRANGER = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user: needs root")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pristine") / ".gateway"
    create(made, "reporter", "test")
    return made


@pytest.fixture
def here(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that somebody visits, with a gateway in it whose key comes from a program."""
    data = tmp_path / ".gateway"
    shutil.copytree(pristine, data)
    data.joinpath("gateway.toml").write_text(f'kek_command = ["touch", "{tmp_path}/ran"]\n', "utf-8")
    monkeypatch.chdir(tmp_path)
    return data


def change(data: Path, name: str, uid: int) -> None:
    os.chown(data / name, uid, -1, follow_symlinks=False)


def everything(data: Path) -> None:
    for path in (data, *data.rglob("*")):
        os.chown(path, STRANGER, -1)


def linked(data: Path) -> None:
    """The stranger's link to a directory that is ours: it could lead elsewhere in a moment."""
    data.rename(data.with_name("real"))
    data.symlink_to("real")
    change(data, "", STRANGER)


def keys_elsewhere(data: Path) -> None:
    (data / "keys").rename(data.parent / "keys")
    os.chown(data.parent / "keys", STRANGER, -1)
    (data / "keys").symlink_to(data.parent / "keys")


FOREIGN: dict[str, Callable[[Path], None]] = {
    "everything": everything,
    "only the directory": lambda data: change(data, "", STRANGER),
    "the settings": lambda data: change(data, "gateway.toml", STRANGER),
    "a database": lambda data: change(data, "registry.db", STRANGER),
    "a key": lambda data: change(data, "keys/kek", STRANGER),
    "a hook of the policies": lambda data: change(data, "policies/.git/hooks/pre-commit", STRANGER),
    "git's settings": lambda data: change(data, "policies/.git/config", STRANGER),
    "a link": linked,
    "keys behind a link": keys_elsewhere,
}


@as_root
@pytest.mark.parametrize("planted", FOREIGN.values(), ids=FOREIGN)
def test_what_belongs_to_another_user_is_not_read(
    here: Path, planted: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    planted(here)
    for command in (["status"], ["vault", "status"], ["agents", "list"], ["audit", "verify"], ["up", "--port", "0"]):
        assert cli.main(command) == 2, command
        said = capsys.readouterr().err
        assert f"belongs to user {STRANGER}" in said, (command, said)
        assert f"sudo -u '#{STRANGER}' gateway" in said, said  # without the sign, `sudo` takes a number for a name
    assert not (here.parent / "ran").exists()


@as_root
def test_an_operation_that_opens_no_registry_reads_nothing_of_another_users_either(here: Path) -> None:
    everything(here)
    for method, path in (("GET", ("adoptions", "clients")), ("GET", ("token-keys",)), ("GET", ("usage",))):
        with pytest.raises(GatewayError) as refused, InProcess(here, lambda *_said: None) as transport:
            transport.exchange(ApiRequest(method=method, path=path))
        assert refused.value.code == "data_foreign"


OPEN: dict[str, Callable[[Path], None]] = {
    "the directory": lambda data: data.chmod(0o777),
    "the settings": lambda data: (data.chmod(0o755), (data / "gateway.toml").chmod(0o666))[-1],
    "the keys": lambda data: (data.chmod(0o755), (data / "keys").chmod(0o777))[-1],
    "the directory above": lambda data: data.parent.chmod(0o777),
}


@pytest.mark.parametrize("opened", OPEN.values(), ids=OPEN)
def test_what_all_users_can_write_is_not_read(
    here: Path, opened: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    opened(here)
    for command in (["status"], ["vault", "status"], ["keys", "list", "reporter"]):
        assert cli.main(command) == 2, command
        said = capsys.readouterr().err
        assert "all users can write to" in said, (command, said)
        assert "chmod go-w" in said, command
    assert not (here.parent / "ran").exists()


def test_a_directory_that_only_its_user_can_write_is_used(here: Path) -> None:
    here.parent.chmod(0o1777)  # as /tmp: nobody can replace what others have put there
    here.chmod(0o700)
    (here / "gateway.toml").chmod(0o664)  # as the umask of many systems makes it; nobody else gets to it
    DataDirectory(here).check()
    link = here.parent / "link"
    link.symlink_to(here)
    DataDirectory(link).check()
    DataDirectory(here / ".." / ".gateway").check()
    DataDirectory(here.parent / "missing").check_owner()


READERS: dict[str, Callable[[Path], object]] = {
    "settings": lambda data: load_settings({"data": data}, {}),
    "the log": log_directory,
    "a gateway": lambda data: DataDirectory(data).check(),
    "a start": lambda data: OnlyOne(DataDirectory(data)),
}


@as_root
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_whatever_reads_it_looks_itself(here: Path, read: Callable[[Path], object]) -> None:
    """Beside the commands, which look at `--data` first."""
    everything(here)
    with pytest.raises(GatewayError) as refused:
        read(here)
    assert refused.value.code == "data_foreign"


def test_settings_that_are_named_are_looked_at_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = here.parent / "named.toml"
    named.write_text("workers = 2\n", "utf-8")
    monkeypatch.setenv("AIG_CONFIG", str(named))
    assert load_settings({"data": here}).workers == 2
    named.chmod(0o666)
    with pytest.raises(GatewayError, match="all users can write to"):
        load_settings({"data": here})


def test_what_others_can_read_is_told(here: Path) -> None:
    assert ownership.readable(here) == []
    here.chmod(0o755)
    (here / "registry.db").chmod(0o644)
    (here / "keys" / "kek").chmod(0o644)  # nobody else can search `keys`
    (told,) = too_open(access(DataDirectory(here)), here)
    assert told.level == "problem"
    assert "can read gateway.toml" in told.message or "registry.db" in told.message
    assert "kek" not in told.message
    (here / "keys").chmod(0o755)
    assert here / "keys" / "kek" in ownership.readable(here)


@as_root
def test_a_stranger_above_is_told(here: Path) -> None:
    os.chown(here.parent, STRANGER, -1)
    DataDirectory(here).check()
    (told,) = too_open(access(DataDirectory(here)), here)
    assert (told.level, f"belongs to user {STRANGER}" in told.message) == ("remark", True)


def test_every_command_has_its_data_directory_checked() -> None:
    """One place checks it: a command that takes a data directory in another way must do so itself, and is listed."""
    own = {"policies check", "policies new"}  # by `load_settings`, if one is named
    checked = 0
    for name, command in _leaves(get_command(cli.build()), ""):
        for parameter in command.params:  # type: ignore[attr-defined]
            if parameter.name == "data" and name not in own:
                assert (parameter.callback is not None, parameter.is_eager) == (True, True), name
                checked += 1
    assert checked > 100


def _leaves(command: object, path: str) -> Iterator[tuple[str, object]]:
    for name, each in getattr(command, "commands", {}).items():
        yield from _leaves(each, f"{path} {name}".strip())
    if not hasattr(command, "commands"):
        yield path, command
