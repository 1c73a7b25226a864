"""An MCP server of the official Python SDK, over Streamable HTTP: `PORT [json]`. It speaks both eras."""

import sys

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


server.run("streamable-http", port=int(sys.argv[1]), json_response="json" in sys.argv)
