"""Agents: what they are, their states, versions, registration, changes and reviews."""
