"""The official Python SDK's own OAuth client, `URL CLIENT SECRET`: it knows a server, and an agent's name and key."""

import asyncio
import json
import sys

import httpx2
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


class Kept:
    """The tokens of one run."""

    def __init__(self) -> None:
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main(url: str, client: str, secret: str) -> dict[str, object]:
    kept, issuer = Kept(), url.rpartition("/")[0].rpartition("/")[0]
    login = ClientCredentialsOAuthProvider(url, kept, client, secret, issuer=issuer)
    async with (
        httpx2.AsyncClient(auth=login, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as mcp,
    ):
        names = [each.name for each in (await mcp.list_tools()).tools]
        found = await mcp.call_tool("get_issue", {"repo": "acme/app", "number": 7})
    return {"tools": names, "said": found.content[0].text, "scope": kept.tokens.scope}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
