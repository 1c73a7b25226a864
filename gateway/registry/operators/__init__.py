"""Operators, their tokens, and the providers where they log in."""
