"""The gateway's own keys: peppers, the key of the vault, the keys of its tokens."""
