"""Files: what a request uploads or names, and what an answer creates. They belong to the agent that uploaded them.

The list of all files is not served: it would show what other agents have uploaded.
Specification: https://docs.claude.com/en/api/files-create.
"""

from __future__ import annotations

from typing import Any

from gateway.body import Body
from gateway.call import Call, Reference
from gateway.upstream.providers import forms, settings
from gateway.upstream.providers.base import Endpoint, RequestHead, call_of
from gateway.upstream.providers.reported import keep
from gateway.upstream.taps import ProviderReport

UPLOAD, RETRIEVE, CONTENT, DELETE = "files.create", "files.retrieve", "files.content", "files.delete"
ACTIONS = frozenset({UPLOAD, RETRIEVE, CONTENT, DELETE})


def read(endpoint: Endpoint, head: RequestHead, provider: str, betas: tuple[str, ...], raw: Body) -> Call:
    """The call in this request; `Denied` where it is none."""
    named = endpoint.params.get("file_id")
    body = form = None
    facts: dict[str, Any] = {"references": () if named is None else (Reference("file", named),)}
    if endpoint.route.action == UPLOAD:
        form = forms.parse(head.content_type, raw, frozenset())
        body = form.document()
        facts = {
            "content_type": head.content_type,
            "references": form.references(),
            "modalities": ("file",),
            "stores": True,
        }
    judged = settings.of(head.query, None if form is None else form.texts(), headers=settings.of_headers(head.headers))
    return call_of(endpoint, head, provider, raw, body, betas=betas, settings=judged, **facts)


def created(document: dict[str, Any], report: ProviderReport) -> None:
    """Read the answer to an upload."""
    keep(report, "file", document.get("id"))
