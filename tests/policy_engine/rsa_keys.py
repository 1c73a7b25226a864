"""RSA keys for all tests of a process: to make one takes longer than most tests do."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

RSA: Final = rsa.generate_private_key(65537, 2048)
OTHER_RSA: Final = rsa.generate_private_key(65537, 2048)
SMALL_RSA: Final = rsa.generate_private_key(65537, 1024)
