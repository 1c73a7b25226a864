"""The pages that a request may come from: those of this server alone, by whatever name a browser reaches it.

A browser sends the page's `Origin`, and `Sec-Fetch-Site`; programs send neither. A page can have its own name lead to
this machine (DNS rebinding): then `Host` is that name too, and no name of this server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.settings import is_loopback

_PORT = re.compile(r":\d*\Z")


def own(host: str, url: str) -> str | None:
    """The origin of this server for a browser that names it so; None if it has no such name.

    It has that of `url`, its address as others know it, and over plain HTTP those of this machine.
    """
    parts = urlsplit(url)
    if url and host == parts.netloc:
        return f"{parts.scheme}://{parts.netloc}"
    return f"http://{host}" if is_loopback(_PORT.sub("", host)) else None


def is_foreign(headers: Mapping[bytes, bytes], origin: str | None) -> bool:
    """True if a browser says that a page of another origin makes this request."""
    site, page = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is None and page is None:
        return False
    return origin is None or site not in (None, b"same-origin") or page not in (None, origin.encode())
