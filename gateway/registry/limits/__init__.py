"""Limits: changes, queries, and where each stands."""
