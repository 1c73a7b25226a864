"""The official Python SDK's own client of enterprise-managed authorization: `URL CLIENT SECRET ASSERTION`."""

import asyncio
import json
import sys

import httpx2
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_oauth_program import Kept


async def main(url: str, client: str, secret: str, assertion: str) -> dict[str, object]:
    kept, issuer = Kept(), url.rpartition("/")[0].rpartition("/")[0]

    async def asserted(audience: str, resource: str) -> str:
        assert (audience, resource) == (issuer, url)
        return assertion

    login = IdentityAssertionOAuthProvider(url, kept, client, secret, issuer, asserted)
    async with (
        httpx2.AsyncClient(auth=login, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as mcp,
    ):
        found = await mcp.call_tool("get_issue", {"repo": "acme/app", "number": 7})
    return {"said": found.content[0].text, "scope": kept.tokens.scope}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
