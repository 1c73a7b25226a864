"""The form of rules about claims and of tokens' origins, for issuers and login providers alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import GatewayError, Hint
from gateway.registry import names
from gateway.settings import is_loopback

MAX_CLAIMS: Final = 16

_VALUE = re.compile(r"[!-~]([ -~]{0,510}[!-~])?")
_CLAIM = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,126}")
# These are checked for every token.
CHECKED: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})


def is_value(text: str) -> bool:
    """True if it can be the value of a claim: 1 to 512 plain characters."""
    return _VALUE.fullmatch(text) is not None


def check_name(name: str) -> None:
    if not _CLAIM.fullmatch(name):
        raise GatewayError("invalid_claim", f"`{name[:80]}` is not the name of a claim", subject=name[:80])


def check(claims: Mapping[str, str], *, of: str, better: str, checked: Collection[str] = CHECKED) -> None:
    """Raise `invalid_claim` unless a rule may ask for these claims.

    Those that are `checked` for every token do not tell one `of` what the rule finds from another; `better` ones would.
    """
    if len(claims) > MAX_CLAIMS:
        raise GatewayError("invalid_claim", f"a rule has at most {MAX_CLAIMS} claims")
    for name, value in claims.items():
        if name in checked:
            what = f"`{name}` is checked for every token, and does not tell one {of} from another"
            raise GatewayError("invalid_claim", what, subject=name, hint=f"name a claim such as {better}")
        check_name(name)
        if not is_value(value):
            what = f"the value of `{name}` must be 1 to 512 plain characters"
            raise GatewayError("invalid_claim", what, subject=name)


def check_url(url: str, what: str, hint: str, *, insecure: bool) -> None:
    """Raise unless this is an address that speaks https, or one of this machine if that is said to be meant.

    `what` is at the address, as an error says it: `the issuer`. `hint` says what is to be done.
    """
    try:
        names.check_base_url(url, insecure=True)
    except GatewayError as error:
        message = error.message.replace("base URL", what, 1)
        raise GatewayError("invalid_url", message, subject=url, hint=hint) from error
    parts = urlsplit(url)
    local = is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not (insecure and local):
        message = f"{what} must be reached by https, and `{url}` is plain http"
        instead = (
            Hint(
                "for a trial on this machine say --insecure",
                api='use https, or send "insecure": true if the network is trusted',
            )
            if local
            else hint
        )
        raise GatewayError("insecure_url", message, subject=url, hint=instead)
