"""The readable page of the control API: its operations, made of the same document. It loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem;color:#1b1f24;background:#fff;overflow-wrap:anywhere}code,pre{font:14px/1.5 ui-monospace,monospace}"
    "h1{line-height:1.2}h2{margin-top:2.5rem;text-transform:capitalize}nav a{display:inline-block;margin-right:.8rem;"
    "text-transform:capitalize}details{border-top:1px solid #d5dae0;padding:.4rem 0}summary{cursor:pointer}"
    "summary code{font-weight:600}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}"
    "pre{background:#f4f6f8;padding:.8rem;overflow:auto;overflow-wrap:normal}"
    "@media(prefers-color-scheme:dark){body{color:#e6e9ed;background:#14171a}pre{background:#1f2428}"
    "details{border-color:#343b42}}"
)


_EXAMPLE = 'curl -H "Authorization: Bearer $AIG_TOKEN" "$AIG_SERVER/api/v1/agents"'


def render(document: dict[str, Any]) -> tuple[bytes, str]:
    """The page, and its content security policy."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">',
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(document['info']['title'])}</h1>",
        f"<p>Version {escape(document['info']['version'])}. Paths begin with <code>/api/v1</code>. Send an operator's "
        "token, which <code>gateway operators token create NAME</code> makes on the gateway's machine. For programs: "
        '<a href="/api/v1/openapi.json">openapi.json</a>.</p>',
        f"<pre>{_EXAMPLE}</pre>",
        "<nav>"
        + " ".join(f'<a href="#{_place(each)}">{escape(each["name"])}</a>' for each in document["tags"])
        + "</nav>",
    ]
    for tag in document["tags"]:
        parts.append(f'<h2 id="{_place(tag)}">{escape(tag["name"])}</h2>')
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts.append(_operation(method, path, operation))
    parts.append("</body></html>")
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return "".join(parts).encode(), f"{policy}; frame-ancestors 'none'"


def _place(tag: dict[str, Any]) -> str:
    return escape(tag["name"]).replace(" ", "-")


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}"
        f"{', required' if each['required'] else ''}</td><td>{escape(each.get('description', ''))}</td></tr>"
        for each in operation["parameters"]
    )
    parts = [
        f"<details><summary><code>{method.upper()} {escape(path)}</code> {escape(operation['summary'])}</summary>",
        f"<table>{rows}</table>" if rows else "",
    ]
    if "requestBody" in operation:
        parts.append(f"<p>Body</p>{_schema(operation['requestBody'])}")
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            parts.append(f"<p>Answer {status}</p>{_schema(response)}")
    others = ", ".join(status for status in operation["responses"] if not status.startswith("2"))
    parts.append(f"<p>Problems: {others}</p></details>")
    return "".join(parts)


def _schema(holder: dict[str, Any]) -> str:
    (content,) = holder["content"].values()
    return f"<pre>{escape(json.dumps(content['schema'], indent=2, ensure_ascii=False))}</pre>"
