"""Deployments: models that are named in the path, as Azure does it."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.upstream.providers import members

DEPLOYMENT = "deployment"
"""The parameter of the routes that name one."""


def deployment(named: str, others: Sequence[object]) -> str:
    """The deployment in the path as the model; `others` are those that the body names."""
    if any(each != named for each in others):
        members.refuse(f"`model` in the body must be `{named}`, the deployment in the path, or absent")
    return members.model(named, "the deployment in the path")
