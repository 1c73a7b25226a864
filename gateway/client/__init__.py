"""What runs beside an agent: signing its requests. It needs nothing of the gateway's other dependencies.

`AgentAuth` needs `httpx` and `cryptography`. See docs/signatures.md.
"""

from gateway.client.auth import AgentAuth

__all__ = ["AgentAuth"]
