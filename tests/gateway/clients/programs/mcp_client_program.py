"""The client of the official Python SDK: `URL KEY MODE [PREFIX]`. It prints what it was told.

It knows a URL, a key, and how the names of tools and prompts begin there.
"""

import asyncio
import json
import sys

import httpx2
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, key: str, mode: str, prefix: str = "") -> dict[str, object]:
    told: dict[str, object] = {}

    async def attempt(name: str, asked) -> None:
        try:
            told[name] = (await asked).content[0].text
        except MCPError as error:
            told[name] = error.error.data["reason"]

    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        told["version"] = client.session.protocol_version
        told["tools"] = [each.name for each in (await client.list_tools()).tools]
        await attempt("allowed", client.call_tool(f"{prefix}get_issue", {"repo": "acme/app", "number": 7}))
        await attempt("denied", client.call_tool(f"{prefix}get_issue", {"repo": "other/app", "number": 7}))
        await attempt("unapproved", client.call_tool(f"{prefix}delete_repo", {"repo": "acme/app"}))
        try:
            told["resource"] = (await client.read_resource("memo://a")).contents[0].text
        except MCPError as error:
            told["resource"] = error.error.message
        told["prompt"] = (await client.get_prompt(f"{prefix}review", {"code": "x = 1"})).messages[0].content.text
    return told


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
