"""An MCP server of the official Python SDK, over Streamable HTTP: `PORT [json] [newer|older]`.

It speaks both eras, or only one: then it answers requests of the other as such servers do.
"""

import sys

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("reference", instructions="a server for tests")


@server.tool()
def get_issue(repo: str, number: int) -> str:
    """Read one issue."""
    return f"{repo}#{number}: it does not work"


@server.tool()
def delete_repo(repo: str) -> str:
    """Delete a repository."""
    return f"{repo} is gone"


@server.resource("memo://{name}")
def memo(name: str) -> str:
    """A memo."""
    return f"memo {name}"


@server.prompt()
def review(code: str) -> str:
    """Ask for a review."""
    return f"please review {code}"


app = server.streamable_http_app(json_response="json" in sys.argv)


async def of_one_era(scope, receive, send) -> None:
    """The server, for requests of its era; others are refused before it sees them."""
    if scope["type"] == "http" and ((b"mcp-protocol-version", b"2026-07-28") in scope["headers"]) != (
        "newer" in sys.argv
    ):
        supported = b"2026-07-28" if "newer" in sys.argv else b"2025-11-25"
        body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"unsupported protocol version","data":'
        body += b'{"supported":["' + supported + b'"],"requested":""}}}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    await app(scope, receive, send)


one = {"newer", "older"} & {*sys.argv}
uvicorn.run(of_one_era if one else app, port=int(sys.argv[1]), log_level="error")
