"""The names and texts that the registry accepts (architecture.md, sections 3 and 9).

Names appear in policies, log lines, URLs and terminals. So they have no spaces and no control characters, and do not
look like ids. All input is checked before it is written, and refused rather than repaired.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urlsplit

from gateway.errors import ConflictError, GatewayError, Hint, UnknownError, did_you_mean
from gateway.identifiers import PREFIXES
from gateway.settings import is_loopback

RESERVED_ORGANIZATIONS = frozenset({"system"})
"""The audit log of the deployment itself has this name."""

PROVIDERS: dict[str, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "gemini": "https://generativelanguage.googleapis.com",
    "azure": "",
    "openai-compatible": "",
    "http": "",
    "mcp": "",
    "a2a": "",
    "bedrock-compatible": "",
    "cerebras": "https://api.cerebras.ai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "gemini-compatible": "https://generativelanguage.googleapis.com/v1beta/openai",
    "groq": "https://api.groq.com/openai/v1",
    "huggingface": "https://router.huggingface.co/v1",
    "mistral": "https://api.mistral.ai/v1",
    "ollama": "http://127.0.0.1:11434/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "together": "https://api.together.xyz/v1",
    "vertex": "https://aiplatform.googleapis.com",
    "vllm": "",
    "xai": "https://api.x.ai/v1",
    "zai": "https://api.z.ai/api/paas/v4",
}
"""The supported providers and their default base URLs; empty where each account has its own, or users run the server.

The dialect of each is in `gateway/upstream/providers/presets.py`.
"""

CLIENTS_ADD: dict[str, str] = {"azure": "/openai", "gemini": "/v1beta", "vertex": "/v1beta1/publishers/google"}
"""Providers whose clients add the version to the base URL themselves, and how the paths of their calls begin.

A base URL of theirs may end in the version all the same.
"""

_FAMILIES = {
    "anthropic": "anthropic",
    "azure": "openai",
    "gemini": "gemini",
    "vertex": "gemini",
    "http": "http",
    "mcp": "mcp",
    "a2a": "a2a",
}

_ADDED = re.compile(r"/(?:deployments|publishers|models)(?:/.*)?$")

_VERSIONED = re.compile(r"/v[0-9]+[a-z0-9]*/?$")
_ASSIGNED = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9_]*=")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", re.ASCII)
_HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_VERSION = re.compile(r"v[0-9]+(alpha|beta)?[0-9]*")
MAX_TEXT = 200
MAX_DESCRIPTION = 1000
_MAX_ITEMS = 64
_NAME_RULE = "1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or digit"


# On whose account a call goes at the provider, or what it calls the application. By families of APIs.
_ACCOUNT_HEADERS = {
    "openai": ("openai-organization", "openai-project", "http-referer", "x-title"),
    "gemini": ("x-goog-user-project",),
}


def check_name(what: str, text: str) -> str:
    """`text`, if it is a valid name. `what` is the kind of thing that it names."""
    if not _NAME.fullmatch(text):
        raise _bad(what, f"{what} `{_shown(text)}` is not a name", _NAME_RULE)
    if text.startswith(PREFIXES):
        raise _bad(what, f"{what} `{text}` begins like an id", f"names must not begin with {', '.join(PREFIXES)}")
    return text


def check_served(what: str, text: str) -> str:
    """`text`, if it can be the first part of a path."""
    if _VERSION.fullmatch(text):
        raise _bad(what, f"{what} `{text}` is called like the version of an API", f"`/{text}/…` has another meaning")
    return check_name(what, text)


def check_organization(text: str) -> str:
    if text in RESERVED_ORGANIZATIONS:
        raise _bad("organization", f"organization `{text}` is reserved", "choose another name")
    return check_name("organization", text)


def check_text(what: str, text: str, limit: int = MAX_TEXT) -> str:
    """`text`, if it is one short line, possibly empty."""
    if len(text) > limit or not text.isprintable():
        raise _bad(what, f"{what} `{_shown(text)}` is not acceptable", f"one line of at most {limit} characters")
    return text


def check_description(text: str) -> str:
    return check_text("description", text, MAX_DESCRIPTION)


def check_capabilities(capabilities: Iterable[str]) -> list[str]:
    """The distinct capabilities, sorted, so that equal sets give equal lists."""
    found = sorted({check_name("capability", each) for each in capabilities})
    if len(found) > _MAX_ITEMS:
        raise _bad("capability", "too many capabilities", f"at most {_MAX_ITEMS}")
    return found


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    for name, value in labels.items():
        if not _LABEL.fullmatch(name):
            raise _bad("label", f"label `{_shown(name)}` is not a name", _NAME_RULE)
        check_text(f"label {name}", value)
    if len(labels) > _MAX_ITEMS:
        raise _bad("label", "too many labels", f"at most {_MAX_ITEMS}")
    return dict(sorted(labels.items()))


def check_headers(provider: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream, names in lower case: only those that say on whose account its calls go."""
    known = _ACCOUNT_HEADERS.get(family(provider), ())
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name.lower() not in known:
            allowed = f"provider {provider} takes {', '.join(known)}" if known else f"provider {provider} takes none"
            raise _bad("header", f"header `{_shown(name)}` cannot be set", did_you_mean(name.lower(), known, allowed))
        if not _HEADER_VALUE.fullmatch(value):
            raise _bad(
                "header", f"the value of header {name.lower()} is not acceptable", "1 to 200 printable characters"
            )
        found[name.lower()] = value
    return dict(sorted(found.items()))


def family(provider: str) -> str:
    """The API that a provider speaks. One request can be sent to all providers of a family."""
    return _FAMILIES.get(provider, "openai")


def check_provider(text: str) -> str:
    if text not in PROVIDERS:
        known = f"this gateway speaks: {', '.join(PROVIDERS)}"
        raise _bad("provider", f"unknown provider `{_shown(text)}`", did_you_mean(text, PROVIDERS, known))
    return text


def check_base_url(text: str, *, insecure: bool) -> str:
    """An upstream's URL without its trailing slash. Because of the secret, only this machine may be reached by HTTP."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise _bad_url(text, str(error).lower()) from error
    if (
        url.scheme not in ("http", "https")
        or not host
        or not text.isascii()
        or not text.isprintable()
        or len(text) > 1000
    ):
        raise _bad_url(text, "it must be like https://api.example.com/v1")
    if url.username is not None or url.password is not None:
        raise _bad_url("", "it must not hold a user or password")  # not repeated: it is a secret
    if "?" in text or "#" in text or " " in text or "\\" in text or port == 0:
        raise _bad_url(text, "it must not hold a query, a fragment, spaces, backslashes or port 0")
    if any(part in (".", "..") or "%" in part for part in url.path.split("/")) or "//" in url.path:
        raise _bad_url(text, "its path must be plain")
    if not _plain_host(host):
        raise _bad_url(text, "its host must be a name or an address in the usual form")
    if url.scheme == "http" and not insecure and not is_loopback(host):
        raise GatewayError(
            "insecure_url",
            f"base URL `{text}` would send the secret in clear",
            subject=text,
            hint=Hint(
                "use https, or say --insecure if the network is trusted",
                api='use https, or send "insecure": true if the network is trusted',
            ),
        )
    return text.rstrip("/")


def unknown(what: str, reference: str, known: Collection[str], hint: Hint | str) -> UnknownError:
    """There is no such thing of this name or id. `known` are names like it, and `hint` says where to see them."""
    shown = _shown(reference)
    hint = did_you_mean(reference, known, hint)
    return UnknownError(what.rpartition(" ")[2], f"unknown {what} `{shown}`", subject=shown, hint=hint)


def unknown_upstream(name: str, known: Collection[str]) -> GatewayError:
    return unknown("upstream", name, known, Hint("type `gateway upstreams list` to see the upstreams"))


def unknown_route(name: str, known: Collection[str]) -> GatewayError:
    return unknown("route", name, known, Hint("type `gateway routes list` to see the routes"))


def check_base_of(provider: str, url: str) -> str:
    """`url`, where the provider's clients begin: completed as they complete it, if they do."""
    if family(provider) == "anthropic" and not _VERSIONED.search(url):
        # Anthropic's SDK adds the version, so its base URL is written without; both mean the same.
        return f"{url.rstrip('/')}/v1"
    if provider == "mcp" and not urlsplit(url).path:
        return f"{url}/mcp"  # where servers have their endpoint, unless they say something else
    usual = urlsplit(PROVIDERS.get(provider, ""))
    if family(provider) == "openai" and urlsplit(url).netloc == usual.netloc and usual.path != "" == urlsplit(url).path:
        raise _bad_url(url, f"the API of {provider} begins at {PROVIDERS[provider]}")
    if provider in CLIENTS_ADD and (found := _ADDED.search(url, url.index("://") + 3)) is not None:
        why = f"clients of {provider} add the rest of the path themselves: leave out `{found[0]}`"
        raise _bad_url(url, why)
    return url


def check_secret(secret: str) -> str:
    """A provider's key, if it is not what stands around one. It is in no message."""
    line = "what was given as the key is"
    if len(secret) > 1 and secret[0] == secret[-1] and secret[0] in "'\"`":
        raise _bad("key", f"{line} in quotes, which are no part of a key", "write it without them where it comes from")
    if _ASSIGNED.match(secret):
        raise _bad("key", f"{line} a line such as NAME=KEY", "give only what stands after the `=`")
    return secret


def _plain_host(host: str) -> bool:
    """A DNS name or a literal address; not `127.1` or `0x7f000001`, which some clients read as addresses."""
    try:
        ipaddress.ip_address(host)
        return True
    except ValueError:
        last = host.rsplit(".", 1)[-1]
        plain = re.fullmatch(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}", host)
        return plain is not None and not last[0].isdigit()


def taken(what: str, name: str, hint: str = "choose another name") -> GatewayError:
    return ConflictError(f"{what}_exists", f"{what} `{name}` exists already", subject=name, hint=hint)


def _bad_url(text: str, why: str) -> GatewayError:
    return _bad("base URL", f"base URL `{_shown(text)}` is not acceptable: {why}" if text else f"base URL: {why}", "")


def _bad(what: str, message: str, hint: str) -> GatewayError:
    return GatewayError("invalid_" + what.split()[0].lower(), message, subject=what, hint=hint)


def _shown(text: str) -> str:
    """`text` as one safe line of bounded length."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= 80 else plain[:77] + "..."
