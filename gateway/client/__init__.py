"""Runs beside an agent and signs its requests. It needs nothing of the gateway's other dependencies.

`AgentAuth` and `CertificateAuth` need `httpx` and `cryptography`. See signatures.md and mtls.md.
"""

from gateway.client.auth import AgentAuth, CertificateAuth

__all__ = ["AgentAuth", "CertificateAuth"]
