"""io.jwt.*: JSON Web Tokens (RFC 7519) that policies decode, verify and sign."""

from __future__ import annotations

from typing import Final

from policy_engine.builtins.jwt import signing, tokens

BUILTINS: Final = (*tokens.BUILTINS, *signing.BUILTINS)
