"""Bad input ends in one clear line and the right exit code, never in a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dulwich.repo import Repo

import gateway
from tests.gateway.conftest import Home, Run, environment


def test_no_gateway_here(run: Run, here: Run) -> None:
    assert run("agents", "list").complains() == "no gateway in ./.gateway: type `gateway init`"
    assert here("keys", "list", "--data", "x").complains() == "no gateway in ./x: type `gateway init --data x`"


@pytest.mark.slow
def test_data_that_is_no_data(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a directory" in run("agents", "list", "--data", str(tmp_path / "file")).complains()
    (tmp_path / "empty").mkdir()
    assert "has no registry.db" in run("agents", "list", "--data", str(tmp_path / "empty")).complains()
    (tmp_path / "empty" / "registry.db").write_bytes(b"\x00garbage" * 1000)
    assert "file is not a database" in run("agents", "list", "--data", str(tmp_path / "empty")).complains()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_that_cannot_be_written(at: Run, home: Home) -> None:
    home.data.path.chmod(0o500)
    assert "is not readable and writable" in at("agents", "list").complains()
    home.data.path.chmod(0o700)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--nope"], "no such option: --nope"),
        (["nope"], "no such command 'nope'"),
        (["agents", "lst"], "no such command 'lst': did you mean 'list'?"),
        (["agents", "list", "--nope"], "no such option: --nope"),
        (["agents", "list", "extra"], "unexpected extra argument"),
        (["agents", "register"], "missing argument"),
        (["bind", "bot", "support", "--effect", "allow"], "'allow' is not one of 'grant', 'guard'"),
    ],
)
def test_wrong_usage(arguments: list[str], expected: str, here: Run) -> None:
    line = here(*arguments).complains(code=2)
    assert expected in line
    assert "--help`" in line or line.endswith("?")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["agents", "show", "nobody"], "unknown agent `nobody`: type `gateway agents list` to see the agents"),
        (["agents", "revoke", "nobody"], "unknown agent `nobody`"),
        (
            ["agents", "register", "bot"],
            "agent `bot` exists already: choose another name, or revoke or retire that agent first",
        ),
        (["agents", "register", "a b"], "agent `a b` is not a name"),
        (["agents", "register", "x\x1b[31m"], "agent `x\\x1b[31m` is not a name"),
        (["agents", "register", "x", "--label", "y"], "label `y` must be NAME=VALUE"),
        (["agents", "list", "--org", "acme"], "unknown organization `acme`"),
        (["agents", "show", "bot", "--at", "yesterday"], "`yesterday` is neither a time nor an age"),
        (["agents", "show", "bot", "--at", "1999-01-01"], "did not exist at that time"),
        (["agents", "show", "bot", "--at", "0001-01-01"], "`0001-01-01` is neither a time nor an age"),
        (["agents", "show", "bot", "--at", "9999-12-31"], "`9999-12-31` is neither a time nor an age"),
        (["agents", "show", "bot\u202e\x1b[2J"], "unknown agent `bot\\u202e\\x1b[2J`"),
        (["keys", "create", "nobody"], "unknown agent `nobody`"),
        (["keys", "create", "bot", "--expires", "soon"], "`soon` is not a duration: write 90s, 15m, 12h or 30d"),
        (["keys", "create", "bot", "--expires", "9" * 5000 + "d"], "9d` is not a duration: write 90s"),
        (["keys", "revoke", "key_x"], "unknown key `key_x`"),
        (["bind", "bot", "support"], "bundle `support` is not in force yet"),
        (["unbind", "bot", "support"], "bundle `support` is not bound to agent `bot`"),
        (["upstreams", "remove", "openai"], "unknown upstream `openai`"),
    ],
)
def test_what_is_refused(arguments: list[str], expected: str, at: Run, home: Home) -> None:
    home.agent()
    assert expected in at(*arguments).complains()


def test_an_error_is_a_line_that_somebody_can_read(at: Run, home: Home) -> None:
    assert len(at("agents", "show", "x" * 100_000).complains()) < 2100


def test_arguments_that_are_no_text(here: Run) -> None:
    assert here("agents", "show", "x\udcff").complains(code=2) == "the arguments are not UTF-8"


@pytest.mark.parametrize(
    "arguments", [["agents", "show", "KEY"], ["keys", "create", "bot", "KEY"], ["bind", "KEY", "b"]]
)
def test_a_key_in_the_wrong_place_is_not_shown(arguments: list[str], at: Run, home: Home) -> None:
    home.agent()
    key = home.key()
    done = at(*(each.replace("KEY", key) for each in arguments))
    assert done.code in (1, 2)
    assert key[:19] in done.err
    assert key[20:] not in done.out + done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
@pytest.mark.parametrize("command", [["up"], ["init"], ["audit", "verify"], ["agents", "list"]])
def test_a_place_where_one_may_not_look(command: list[str], run: Run, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    line = run(*command, "--data", str(closed / "data")).complains(code=2 if command[-1] == "verify" else 1)
    assert "internal error" not in line


@pytest.mark.slow
def test_help_everywhere(run: Run) -> None:
    assert "Commands:" in run("--help").out
    for noun in ("agents", "keys", "bindings", "upstreams", "audit"):
        assert run(noun, "--help").code == 0
        bare = run(noun)
        assert (bare.code, bare.out) == (2, "")
        assert "Commands:" in bare.err


def test_version(run: Run) -> None:
    told = run("--version").out
    assert re.fullmatch(
        r"gateway \S+, commit ([0-9a-f]{40}\+?|not known)\nschemas: registry \d{4}, audit-entry 1, .*\n", told
    )
    root = Path(gateway.__file__).parents[1]
    if (root / ".git").exists():
        with Repo(str(root)) as repository:
            assert repository.head().decode() in told


def test_a_reader_that_leaves_is_no_error(home: Home) -> None:
    for number in range(3):
        home.agent(f"bot-{number}")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())", "agents", "list"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(AIG_DATA=str(home.data.path)),
        timeout=300,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""


HEAVY = "sqlmodel sqlalchemy alembic jinja2 dulwich rich aiohttp uvicorn cryptography lark"


@pytest.mark.slow
def test_standard_streams_that_were_closed_are_no_error(home: Home) -> None:
    home.agent()
    command = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        variables = environment(AIG_DATA=str(home.data.path))
        return subprocess.run(
            ["sh", "-c", f'"$@" {line}', "sh", *command], env=variables, capture_output=True, text=True, timeout=120
        )

    done = shell("keys add-public - --agent bot <&-")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the public key is not the PEM of a public key"), done.stderr
    done = shell("agents list >&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = shell("agents show nobody 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def loaded(statement: str) -> set[str]:
    """The heavy packages that are in memory after this statement, in a fresh process."""
    script = f"import sys\n{statement}\nprint(*({HEAVY.split()!r} & sys.modules.keys()))".replace("[", "{").replace(
        "]", "}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), timeout=300, check=True
    )
    return set(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    assert loaded("from gateway.cli import build; build()") == set()


def test_what_a_data_worker_reads_with_is_light() -> None:
    modules = (
        "gateway.identity.authentication, gateway.identity.credentials, gateway.identity.principals, "
        "gateway.registry.reader, gateway.secrets.vault"
    )
    assert loaded(f"import {modules}, sys\nassert 'typer' not in sys.modules") <= {"cryptography"}


def test_a_supervisor_is_light() -> None:
    """It only watches children: 39 MiB, of which the command line's own package is a third; 97 with all of these."""
    assert loaded("import gateway.cli.up, gateway.processes.supervisor, gateway.processes.openness") == set()


def test_the_counting_can_fail() -> None:
    assert loaded("import lark") == {"lark"}
