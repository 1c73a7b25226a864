"""Upstreams and routes."""
