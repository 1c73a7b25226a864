"""Settings (architecture.md, section 16).

One schema, the fields of `Settings`, and three places that may set them: a flag beats the environment (`AIG_PORT`)
beats the file (`gateway.toml`) beats the default. In the file a table is a prefix: `[policies] ref = "main"` sets
`policies_ref`. A name that is not in the schema is an error wherever it stands: a mistyped limit must not be ignored.
Things that can change while the gateway runs (agents, keys, upstreams) are no settings: they live in the registry.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gateway import ownership
from gateway.data_directory import DEFAULT_DATA, FILE_NAME, DataDirectory
from gateway.errors import GatewayError, Hint, UnknownError, did_you_mean
from gateway.remotes import Remote, is_remote, parse

PREFIX = "AIG_"
"""The prefix of the settings' names in the environment."""
NO_CHECK = f"{PREFIX}NO_CHECK"
"""`gateway upstreams add` does not try what it adds, as with `--no-check` (providers.md)."""
CLIENT_VARIABLES = frozenset({f"{PREFIX}SERVER", f"{PREFIX}TOKEN", NO_CHECK})
"""Variables that commands take from the environment (remote.md, providers.md); no settings of a gateway."""

# Variables that Kubernetes puts into the environment of every container for a Service whose name begins with `aig`:
# addresses of that Service, no settings of this program. `AIG_PORT` is such an address if its value is one.
_INJECTED = re.compile(
    r"AIG_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII
)
_INJECTED_PORT = re.compile(r"(tcp|udp|sctp)://", re.ASCII)


def _setting(default: Any, text: str, low: float | None = None, high: float | None = None, unit: str = "") -> Any:
    """A field of `Settings`: its default, its one-line help and, for numbers, its inclusive range and its unit."""
    return field(default=default, metadata={"help": text, "low": low, "high": high, "unit": unit})


def _seconds(default: float, text: str, low: float, high: float) -> Any:
    return _setting(default, text, low, high, "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is fixed while the gateway runs."""

    data: DataDirectory = field(default=DataDirectory(DEFAULT_DATA), metadata={"help": "the data directory"})

    host: str = _setting("127.0.0.1", "address of the data plane")
    port: int = _setting(8080, "port of the data plane", 0, 65535)
    data_url: str = _setting(
        "",
        "where agents reach the data plane, for cards and OAuth clients: https://gw.example; empty: its own address",
    )
    control_host: str = _setting("127.0.0.1", "address of the control plane")
    control_port: int = _setting(8081, "port of the control plane", 0, 65535)
    control_url: str = _setting(
        "",
        "where browsers reach the dashboard through a proxy with TLS: https://gw.example; empty: on this machine only",
    )
    insecure: bool = _setting(False, "allow plain HTTP on an address that is not loopback")
    tls_cert: Path | None = field(
        default=None,
        metadata={"help": "certificate chain of the data plane as PEM; it then speaks TLS and no plain HTTP"},
    )
    tls_key: Path | None = field(default=None, metadata={"help": "private key of that certificate as PEM"})
    client_ca: Path | None = field(
        default=None, metadata={"help": "authorities as PEM whose certificates agents may use instead of a key"}
    )
    workers: int = _setting(1, "number of data workers", 1, 256)

    policies_repository: Path | str | None = field(
        default=None,
        metadata={"help": "git repository of the policies: a path, https://… or ssh://… (default: what init made)"},
    )
    policies_path: str = _setting("", "directory inside that repository that holds the bundles")
    policies_ref: str = _setting("main", "branch or tag to follow")
    policies_poll: float = _seconds(2.0, "how often to look for a new commit", 0.1, 86400)
    policies_fetch: float = _seconds(30.0, "how often to fetch from a repository on another machine", 1, 86400)
    policies_credential_file: Path | None = field(
        default=None, metadata={"help": "file with the token (https) or private key (ssh) for that repository"}
    )
    policies_credential_env: str = _setting("", "variable with the token for an https repository, instead of a file")
    policies_known_hosts: Path | None = field(
        default=None, metadata={"help": "file with the host's keys, as OpenSSH's known_hosts; needed for ssh"}
    )
    policies_ca_file: Path | None = field(
        default=None, metadata={"help": "certificates to trust for an https repository, instead of the public ones"}
    )
    policies_signers: Path | None = field(
        default=None, metadata={"help": "who may sign commits, as OpenSSH's allowed_signers; others are refused"}
    )
    policies_impact_days: int = _setting(
        0,
        "days of past calls that a commit is judged by: refused if more end otherwise than it accepts; 0: none",
        0,
        3660,
        "days",
    )
    policy_deadline_ms: int = _setting(100, "how long judging one request may take", 1, 1_000, "milliseconds")

    approval_hold: float = _seconds(
        50.0, "how long a call that people must approve waits for them on its connection; 0: not at all", 0, 3600
    )

    default_output_tokens: int = _setting(
        4096, "output limit of a call that has none, where a limit on tokens or spend applies", 16, 10_000_000, "tokens"
    )

    token_lifetime: int = _setting(300, "how long a token that the gateway gives out is good", 60, 600, "seconds")
    token_delegations: int = _setting(3, "how often agents may hand on that they act for another one", 0, 10)

    header_timeout: float = _seconds(10.0, "how long a client may take to send a request's head", 0.1, 3600)
    body_timeout: float = _seconds(60.0, "how long a client may take to send a request's body", 0.1, 3600)
    body_rate: int = _setting(
        500,
        "what a client must send of a body on average, after the first header_timeout; 0 means anything",
        0,
        10**9,
        "bytes a second",
    )
    write_timeout: float = _seconds(60.0, "how long a client may take nothing of its answer", 0.1, 3600)
    keep_alive: float = _seconds(75.0, "how long an idle client connection is kept", 0.1, 3600)
    max_header_bytes: int = _setting(32 * 1024, "largest head of a request", 1024, 1024 * 1024, "bytes")
    max_body_bytes: int = _setting(32 * 1024 * 1024, "largest body of a request", 1024, 1024 * 1024 * 1024, "bytes")
    max_held_bytes: int = _setting(
        256 * 1024 * 1024,
        "request bodies, and answers that are read or kept, that a worker holds at a time",
        1024,
        1024**4,
        "bytes",
    )
    max_spooled_bytes: int = _setting(
        1024 * 1024 * 1024, "large request bodies that a worker keeps on disk at a time", 1024, 1024**4, "bytes"
    )
    max_connections: int = _setting(
        4096, "client connections of each worker; an address may have half of them at most", 1, 1_000_000
    )
    max_requests: int = _setting(
        2048, "requests in progress in each worker; an agent may have half of them at most", 1, 1_000_000
    )
    stall_timeout: float = _seconds(
        60.0, "how long the event loop of a worker may stand still before it is replaced; 0 means for ever", 0, 86400
    )
    drain_timeout: float = _seconds(15.0, "how long running requests may go on after a stop", 0, 3600)

    upstream_connect_timeout: float = _seconds(10.0, "how long connecting to an upstream may take", 0.1, 3600)
    upstream_first_byte_timeout: float = _seconds(120.0, "how long an upstream may take to begin its answer", 0.1, 3600)
    upstream_idle_timeout: float = _seconds(120.0, "how long an upstream may pause within its answer", 0.1, 3600)
    upstream_total_timeout: float = _seconds(900.0, "how long one upstream call may take in all", 0.1, 86400)
    mcp_list_timeout: float = _seconds(
        10.0, "how long each server may take for its part of a list of all MCP servers (`/mcp`)", 0.1, 3600
    )
    upstream_retries: int = _setting(1, "how often a call that is safe to repeat is tried again", 0, 10)
    breaker_failures: int = _setting(
        5, "failures in a row after which no call is sent to an upstream for a while; 0 means never", 0, 1000
    )
    breaker_window: float = _seconds(30.0, "within which time these failures must happen", 0.1, 86400)
    breaker_pause: float = _seconds(5.0, "how long no call is sent then; doubles while the upstream fails", 0.1, 3600)
    breaker_max_pause: float = _seconds(60.0, "the longest such pause", 0.1, 86400)

    kek_env: str = _setting("", "variable with the vault's key in base64, instead of the file keys/kek")
    proxies: tuple[str, ...] = _setting(
        (),
        "networks of the proxies in front, which say in proxy_header where a request comes from",
    )
    proxy_header: str = field(
        default="x-forwarded-for",
        metadata={
            "help": "the header in which those proxies say it, and which they never pass on as the client has sent it",
            "choices": ("x-forwarded-for", "forwarded"),
        },
    )
    kek_command: tuple[str, ...] = _setting(
        (), "program and arguments that print the vault's key in base64, instead of the file keys/kek"
    )

    prices_file: Path | None = field(
        default=None, metadata={"help": "file with your own prices, which come first (default: prices.json there)"}
    )
    content_max_bytes: int = _setting(
        256 * 1024,
        "largest request or answer whose content is kept, for agents that keep it",
        1024,
        16 * 1024**2,
        "bytes",
    )
    otel_endpoint: str = _setting("", "where traces go by OTLP over HTTP, as http://127.0.0.1:4318; empty: nowhere")
    metrics_host: str = _setting("127.0.0.1", "address of the listener for /metrics alone, if there is one")
    metrics_port: int = _setting(
        0, "port of a listener for /metrics alone; 0: /metrics is on the control plane", 0, 65535
    )
    metrics_hosts: tuple[str, ...] = _setting(
        (), "names by which /metrics may be asked for, besides addresses, localhost and the names of its listeners"
    )
    metrics_agents: int = _setting(200, "agents with metrics of their own; the others share one", 0, 10_000)
    checkpoint_seconds: float = _seconds(10.0, "how often the audit log's head is signed", 0.1, 86400)
    publish_to: Path | None = field(
        default=None,
        metadata={"help": "directory that signed entries are published to, in the form of C2SP's tlog-tiles"},
    )
    publish_organizations: tuple[str, ...] = _setting(
        ("system",), "whose logs are published; `system` is the log of checkpoints and policies, `*` means all"
    )
    log_requests: str = field(
        default="auto",
        metadata={
            "help": "a line on standard error for each request: always, never, or auto, which means on a terminal",
            "choices": ("always", "never", "auto"),
        },
    )

    @property
    def data_plane(self) -> str:
        """The URL of the data plane's listener."""
        return url(self.host, self.port, "http" if self.tls_cert is None else "https")

    @property
    def public_data_plane(self) -> str:
        """The URL of the data plane as others know it."""
        return self.data_url or self.data_plane

    @property
    def dashboard(self) -> str:
        """The address of the dashboard, as people's browsers know it."""
        return f"{self.control_url or f'http://{self.control_host}:{self.control_port}'}/dashboard"

    @property
    def own_prices(self) -> Path:
        """The file with the operator's own prices, which need not exist if it is not named."""
        return self.prices_file or self.data.prices

    @property
    def repository(self) -> Path:
        """The policies repository to read: the configured one or its local copy, or the one that init made."""
        if isinstance(self.policies_repository, str):
            return self.data.fetched_policies
        return self.policies_repository or self.data.policies

    @property
    def remote(self) -> Remote | None:
        """The repository on another machine that the policies are fetched from, if there is one."""
        return parse(self.policies_repository) if isinstance(self.policies_repository, str) else None


SCHEMA = {item.name: item for item in fields(Settings)}


def load_settings(
    flags: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The settings in force. A flag that is None was not given; `env` is the process environment by default.

    `file` must exist if it is named (by this argument or by `AIG_CONFIG`); otherwise `gateway.toml` in the data
    directory is read if there is one. The data directory itself is not checked: `gateway init` needs it missing.
    """
    settings = _unchecked(flags, env, file)
    _check_tls(settings)
    check_bind(settings)
    _check_remote(settings)
    _check_kek(settings)
    _check_proxies(settings)
    _check_origin("control_url", settings.control_url)
    _check_origin("data_url", settings.data_url)
    return settings


def kek_settings(data: Path) -> tuple[str, tuple[str, ...]]:
    """The settings `kek_env` and `kek_command` of a data directory, for commands that serve nothing themselves."""
    settings = _unchecked({"data": data}, None, None)
    _check_kek(settings)
    return settings.kek_env, settings.kek_command


def _unchecked(flags: Mapping[str, object] | None, env: Mapping[str, str] | None, file: Path | None) -> Settings:
    values: dict[str, object] = {}
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    environment = _from_environment(os.environ if env is None else env)
    config = file or (Path(config_name) if (config_name := environment.pop("config", None)) else None)
    if config is None:
        data = Path(str(given.get("data") or environment.get("data") or DEFAULT_DATA))
        DataDirectory(data).check_owner()
        config = found if os.path.exists(found := data / FILE_NAME) else None
    else:
        ownership.check_file(config)
    if config is not None:
        values.update(_from_file(config))
    for name, text in environment.items():
        values[name] = _convert(name, text, f"{PREFIX}{name.upper()}")
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        if name not in SCHEMA:
            raise UnknownError("setting", f"unknown setting `{flag}`", subject=name)
        values[name] = _convert(name, value, flag)
    return Settings(**values)  # type: ignore[arg-type]  # each value was converted to its field's type


def _from_environment(env: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or _injected(variable, text):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if variable in CLIENT_VARIABLES:
            continue
        if name not in SCHEMA and name != "config":
            raise UnknownError(
                "setting",
                f"unknown setting `{variable}` in the environment",
                subject=variable,
                hint=did_you_mean(
                    variable,
                    [f"{PREFIX}{known.upper()}" for known in (*SCHEMA, "config")],
                    f"variables that begin with {PREFIX} are the gateway's settings: correct it or unset it",
                ),
            )
        found[name] = text
    return found


def _injected(variable: str, text: str) -> bool:
    """True if this variable is Kubernetes' and no setting."""
    named = _INJECTED.fullmatch(variable) is not None
    return named or (variable.endswith("_PORT") and _INJECTED_PORT.match(text) is not None)


def _from_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except FileNotFoundError as error:
        raise GatewayError("settings_missing", f"settings file `{path}` does not exist", subject=str(path)) from error
    except OSError as error:
        message = f"cannot read settings file `{path}`: {_reason(error)}"
        raise GatewayError("settings_unreadable", message, subject=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GatewayError("settings_invalid", f"`{path}` is not TOML: {error}", subject=str(path)) from error
    flat: dict[str, object] = {}
    for key, value in document.items():
        inner = {f"{key}_{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
        for name, item in inner.items():
            shown = f"{key}.{name.removeprefix(key + '_')}" if isinstance(value, dict) else name
            if name not in SCHEMA:
                hint = did_you_mean(name, SCHEMA, f"`{FILE_NAME}` of a new gateway lists all settings")
                raise UnknownError("setting", f"unknown setting `{shown}` in `{path}`", subject=shown, hint=hint)
            flat[name] = _convert(name, item, f"`{shown}` in `{path}`", base=path.parent)
    return flat


_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _convert(name: str, value: object, source: str, base: Path | None = None) -> object:
    """`value` as the type of the field `name`; `source` says in an error where it came from.

    Relative paths belong to the directory of the file that names them (`base`), or to the working directory.
    """
    item = SCHEMA[name]
    wanted = str(item.type)
    if wanted == "DataDirectory" and isinstance(value, DataDirectory):
        return value
    if name == "policies_repository" and isinstance(value, str) and is_remote(value):
        try:
            return parse(value).address
        except ValueError as error:  # without the value: it may hold a credential
            raise GatewayError("invalid_setting", f"{source}: {error}", subject=source) from error
    if wanted == "Path | None" and value == "":
        return None
    if wanted in ("DataDirectory", "Path | None", "Path | str | None"):
        if isinstance(value, (str, Path)) and str(value):
            path = Path(value).expanduser()
            path = base / path if base else path
            return DataDirectory(path) if wanted == "DataDirectory" else path
        raise _invalid(source, value, "a path")
    if wanted == "str":
        choices = item.metadata.get("choices")
        if isinstance(value, str) and (choices is None or value in choices):
            return value
        raise _invalid(source, value, f"one of {', '.join(choices)}" if choices else "text")
    if wanted == "tuple[str, ...]":
        with suppress(ValueError):
            parts = shlex.split(value) if isinstance(value, str) else value
            if isinstance(parts, (list, tuple)) and all(isinstance(part, str) for part in parts):
                return tuple(parts)
        # Without the value: an argument may be a secret.
        raise GatewayError("invalid_setting", f"{source} must be a list of texts", subject=source)
    if wanted == "bool":
        found = value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower())
        if found is None:
            raise _invalid(source, value, "true or false")
        return found
    return _number(source, value, item.metadata, integer=wanted == "int")


def _number(source: str, value: object, limits: Mapping[str, Any], *, integer: bool) -> int | float:
    kind = "a whole number" if integer else "a number"
    wanted = f"{kind} from {limits['low']} to {limits['high']}" + (f" ({limits['unit']})" if limits["unit"] else "")
    accepted = (int, str) if integer else (int, float, str)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise _invalid(source, value, wanted)
    try:
        number = int(value) if integer else float(value)
    except ValueError as error:
        raise _invalid(source, value, wanted) from error
    if not limits["low"] <= number <= limits["high"]:  # false for NaN, too
        raise _invalid(source, value, wanted)
    return number


def _invalid(source: str, value: object, wanted: str) -> GatewayError:
    return GatewayError("invalid_setting", f"{source} is `{value}`, but must be {wanted}", subject=source)


def check_bind(settings: Settings) -> None:
    """Refuse to serve plain HTTP on anything but loopback without `insecure`: credentials would cross a network."""
    plain = [("control_host", settings.control_host)]
    if settings.metrics_port:
        plain.append(("metrics_host", settings.metrics_host))
    if settings.tls_cert is None:
        plain.insert(0, ("host", settings.host))
    for name, host in plain:
        if not settings.insecure and not is_loopback(host):
            raise GatewayError(
                "insecure_bind",
                f"{name} `{host}` is not a loopback address and the gateway speaks plain HTTP",
                subject=name,
                hint=Hint("put a TLS proxy in front and bind to 127.0.0.1, or add --insecure"),
            )


def _check_tls(settings: Settings) -> None:
    """Refuse settings of TLS that do not belong together. The content of the files is checked when they are read."""
    names = ("tls_cert", "tls_key", "client_ca")
    given = [name for name in names if getattr(settings, name) is not None]
    missing = [name for name in names[:2] if name not in given]
    if given and missing:
        raise GatewayError(
            "invalid_setting",
            f"{given[0]} is set without {missing[0]}",
            subject=missing[0],
            hint="tls_cert and tls_key belong together, and client_ca needs both",
        )


def _check_origin(name: str, text: str) -> None:
    """It is an origin: pages compare it with what browsers say, and paths are put behind it."""
    if text and not re.fullmatch(r"https://[a-z0-9.-]+(:[0-9]{1,5})?", text):
        hint = "write https, the name in lower case, and a port if it is not 443: https://gw.example"
        raise GatewayError("invalid_setting", f"{name} is `{text[:80]}`", subject=name, hint=hint)


def _check_proxies(settings: Settings) -> None:
    for each in settings.proxies:
        try:
            network = ipaddress.ip_network(each)
        except ValueError as error:
            message, hint = f"proxies has `{each}`, which is no network", "write 10.1.2.3 or 10.1.0.0/16"
            raise GatewayError("invalid_setting", message, subject="proxies", hint=hint) from error
        if network.prefixlen == 0:
            message, hint = "proxies names all addresses, so every client could say what it likes", "name the proxies"
            raise GatewayError("invalid_setting", message, subject="proxies", hint=hint)


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def _check_kek(settings: Settings) -> None:
    """Refuse settings of the vault's key that do not belong together. No value is quoted: it may be the key."""
    if settings.kek_env and settings.kek_command:
        raise GatewayError("invalid_setting", "kek_env and kek_command exclude each other", subject="kek_env")
    if settings.kek_env and (settings.kek_env.startswith(PREFIX) or not _VARIABLE.fullmatch(settings.kek_env)):
        raise GatewayError(
            "invalid_setting",
            f"kek_env must be the name of a variable, and not begin with {PREFIX}, as the settings' own do",
            subject="kek_env",
            hint="put the key into that variable, not here",
        )


def _check_remote(settings: Settings) -> None:
    """Refuse settings of a remote repository that do not belong together. No value is quoted: it may be a secret."""
    remote = settings.remote
    if settings.policies_credential_env and not _VARIABLE.fullmatch(settings.policies_credential_env):
        raise GatewayError(
            "invalid_setting",
            "policies_credential_env must be the name of a variable",
            subject="policies_credential_env",
            hint="put the token into that variable, not here",
        )
    if remote is None:
        return
    if remote.scheme == "ssh" and settings.policies_known_hosts is None:
        raise GatewayError(
            "invalid_setting",
            "policies_repository is reached by ssh, so policies_known_hosts must name a file with the host's keys",
            subject="policies_known_hosts",
            hint=f"`ssh-keyscan {remote.host}` prints them; compare them with what the host publishes",
        )
    if settings.policies_credential_env and (remote.scheme == "ssh" or settings.policies_credential_file is not None):
        why = "is for https" if remote.scheme == "ssh" else "and policies_credential_file exclude each other"
        raise GatewayError("invalid_setting", f"policies_credential_env {why}", subject="policies_credential_env")


def url(host: str, port: int, scheme: str = "http") -> str:
    """The URL of a listener. An IPv6 address stands in brackets there."""
    bare = host.strip("[]")
    return f"{scheme}://[{bare}]:{port}" if ":" in bare else f"{scheme}://{bare}:{port}"


def is_loopback(host: str) -> bool:
    """True if a host name or literal address can only mean this machine; no name is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
