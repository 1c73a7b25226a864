"""Keys of agents: secrets, public keys and SPIFFE IDs."""
