"""Settings: precedence, types, and the refusal of whatever is not in the schema."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.settings import SCHEMA, Settings, is_loopback, load_settings, url


def refusal(flags: dict[str, object] | None = None, env: dict[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(GatewayError) as caught:
        load_settings(flags, env or {}, file)
    return f"{caught.value}: {caught.value.hint}"


def test_defaults() -> None:
    settings = load_settings({}, {})
    assert (settings.host, settings.port, settings.control_port, settings.workers) == ("127.0.0.1", 8080, 8081, 1)
    assert settings.data.path == Path(".gateway")
    assert settings.repository == Path(".gateway/policies")
    assert settings.max_body_bytes == 32 * 1024 * 1024


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("port = 1\nworkers = 2\ncontrol_port = 3\n")
    settings = load_settings({"port": 10, "workers": None}, {"AIG_PORT": "20", "AIG_WORKERS": "21"}, file)
    assert (settings.port, settings.workers, settings.control_port) == (10, 21, 3)


def test_the_file_is_found_in_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('port = 7\n[policies]\nref = "release"\nrepository = "../rego"\n')
    settings = load_settings({"data": tmp_path}, {})
    assert (settings.port, settings.policies_ref) == (7, "release")
    # A path in a file is relative to that file.
    assert settings.repository == tmp_path / "../rego"


def test_the_environment_can_name_file_and_data(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("port = 8\n")
    settings = load_settings({}, {"AIG_CONFIG": str(file), "AIG_DATA": "/srv/gateway", "HOME": "/x"})
    assert (settings.port, settings.data) == (8, DataDirectory(Path("/srv/gateway")))


def test_what_kubernetes_injects_is_left_alone() -> None:
    """Its addresses of Services that are named `aig` or `aig-control`, beside settings of ours and other variables."""
    injected = {}
    for service, port in [("AIG", 8080), ("AIG_CONTROL", 8081)]:
        address = f"tcp://10.0.0.11:{port}"
        injected |= {
            f"{service}_SERVICE_HOST": "10.0.0.11",
            f"{service}_SERVICE_PORT": str(port),
            f"{service}_SERVICE_PORT_HTTP": str(port),
            f"{service}_PORT": address,
            f"{service}_PORT_{port}_TCP": address,
            f"{service}_PORT_{port}_TCP_PROTO": "tcp",
            f"{service}_PORT_{port}_TCP_PORT": str(port),
            f"{service}_PORT_{port}_TCP_ADDR": "10.0.0.11",
        }
    settings = load_settings({}, injected | {"AIG_WORKERS": "3", "GATEWAY_PORT": "tcp://10.0.0.12:80"})
    assert (settings.port, settings.control_port, settings.workers) == (8080, 8081, 3)
    assert load_settings({}, {"AIG_PORT": "9000"}).port == 9000


@pytest.mark.parametrize(
    ("flags", "env", "text", "expected"),
    [
        ({"prot": 1}, {}, "", "unknown setting `--prot`"),
        ({}, {"AIG_PROT": "1"}, "", "unknown setting `AIG_PROT` in the environment: did you mean `AIG_PORT`?"),
        ({}, {"AIG_XYZZY": "1"}, "", "`AIG_XYZZY` in the environment: variables that begin with AIG_ are"),
        ({}, {}, "prot = 1", "unknown setting `prot` in FILE: did you mean `port`?"),
        ({}, {}, "[policies]\nreff = 'x'", "`policies.reff` in FILE: did you mean `policies_ref`?"),
        (
            {},
            {},
            "policies_repository = 'https://u:pw@git.example/p'",
            "must not contain a credential: put it into a file",
        ),
        ({}, {}, "policies_repository = 'https://tok@git.example/p'", "must not contain a credential"),
        ({}, {}, "policies_repository = 'http://git.example/p'", "the scheme http:// is not supported"),
        ({}, {}, "policies_repository = 'file:///srv/p'", "write the path alone"),
        ({}, {}, "policies_repository = 'git://git.example/p'", "the scheme git:// is not supported: use https:// or"),
        ({}, {}, "policies_repository = 'https://git.example/'", "needs a host and the path of a repository"),
        ({}, {}, "policies_repository = 'https://git.example:x/p'", "the port in the address is not one"),
        ({}, {}, "policies_repository = 'ssh://-oProxyCommand=x/p'", "needs a host"),
        (
            {},
            {"AIG_POLICIES_REPOSITORY": "git@git.example:p.git"},
            "",
            "must name a file with the host's keys: `ssh-keyscan",
        ),
        ({}, {"AIG_POLICIES_CREDENTIAL_ENV": "ghp_x-y"}, "", "must be the name of a variable: put the token into"),
        ({}, {}, "port = 'many'", "must be a whole number from 0 to 65535"),
        ({}, {}, "port = 80.5", "must be a whole number"),
        ({}, {}, "port = true", "must be a whole number"),
        ({"port": 65536}, {}, "", "--port is `65536`, but must be"),
        ({}, {"AIG_WORKERS": "0"}, "", "AIG_WORKERS is `0`, but must be"),
        ({}, {"AIG_PORT": "http://10.0.0.1:80"}, "", "AIG_PORT is `http://10.0.0.1:80`, but must be"),
        ({}, {"AIG_POLICY_DEADLINE_MS": "1001"}, "", "must be a whole number from 1 to 1000 (milliseconds)"),
        ({}, {"AIG_HEADER_TIMEOUT": "nan"}, "", "must be a number from"),
        ({}, {"AIG_INSECURE": "perhaps"}, "", "must be true or false"),
        ({}, {}, "host = 5", "must be text"),
        ({}, {}, "port = ", "is not TOML"),
        ({"host": "0.0.0.0"}, {}, "", "not a loopback address"),
        ({}, {"AIG_CONTROL_HOST": "gateway.example"}, "", "not a loopback address"),
    ],
)
def test_what_is_refused(
    flags: dict[str, object], env: dict[str, str], text: str, expected: str, tmp_path: Path
) -> None:
    file = None
    if text:
        file = tmp_path / "gateway.toml"
        file.write_text(text)
    found = refusal(flags, env, file)
    assert expected in found.replace(f"`{file}`", "FILE")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    assert "does not exist" in refusal(file=tmp_path / "gateway.toml")


def test_insecure_allows_other_addresses() -> None:
    assert load_settings({"host": "0.0.0.0", "insecure": True}, {}).host == "0.0.0.0"


def test_every_setting_says_what_it_is() -> None:
    for item in SCHEMA.values():
        assert item.metadata["help"], item.name
    numbers = [item for item in SCHEMA.values() if item.type in ("int", "float")]
    for item in numbers:
        counted = item.name in (
            *("port", "control_port", "metrics_port", "workers", "max_connections", "max_requests"),
            *("upstream_retries", "breaker_failures", "metrics_agents", "token_delegations"),
        )
        assert counted != bool(item.metadata["unit"]), item.name
    assert all(item.metadata["low"] <= getattr(Settings(), item.name) <= item.metadata["high"] for item in numbers)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"), ("[::1]", "http://[::1]:80")],
)
def test_the_url_of_a_listener(host: str, expected: str) -> None:
    assert url(host, 80) == expected


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "127.1", "localhost.evil.example", "10.0.0.1", "127.0.0.1.x"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_data_directory_is_private(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "new" / "gateway")
    data.create()
    for path in (data.path, data.keys, data.bundles, data.processes):
        assert path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(GatewayError, match="exists already"):
        data.create()


def test_what_is_wrong_with_a_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def complaint(path: Path) -> str:
        with pytest.raises(GatewayError) as caught:
            DataDirectory(path).check()
        return f"{caught.value.message}: {caught.value.hint}"

    monkeypatch.chdir(tmp_path)
    assert complaint(Path(".gateway")) == "no gateway in ./.gateway: type `gateway init`"
    assert complaint(Path("/nowhere/at all")).endswith("type `gateway init --data '/nowhere/at all'`")
    (tmp_path / "file").write_text("")
    assert "not a directory" in complaint(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "has no registry.db" in complaint(tmp_path / "empty")
    if os.geteuid() != 0:  # root may write everywhere
        (tmp_path / "empty").chmod(0o500)
        assert "not readable and writable" in complaint(tmp_path / "empty")
    # No test may mount a disk.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert "can only be read: copy it to a place" in complaint(tmp_path / "empty")
