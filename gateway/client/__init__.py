"""What runs beside an agent: signing its requests. It needs nothing of the gateway's other dependencies.

`AgentAuth` and `CertificateAuth` need `httpx` and `cryptography`. See docs/signatures.md and docs/mtls.md.
"""

from gateway.client.auth import AgentAuth, CertificateAuth

__all__ = ["AgentAuth", "CertificateAuth"]
