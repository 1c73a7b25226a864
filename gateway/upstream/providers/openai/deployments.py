"""Deployments: models that are named in the path, as Azure does it.

Azure does not look at the `model` of a JSON body then, and many clients put the name of the model there that was
deployed. So the deployment is the model, and `of_its_path` puts it into the body before a policy is asked: whoever
reads the call, in whatever place, finds one model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.call import Call
from gateway.upstream import json_body
from gateway.upstream.providers import members
from gateway.upstream.providers.base import MODEL_EDIT

DEPLOYMENT = "deployment"
"""The parameter of the routes that name one."""


def deployment(named: str, others: Sequence[object]) -> str:
    """The deployment in the path as the model; `others` are names of models that must be the same."""
    if any(each != named for each in others):
        members.refuse(f"`model` in the body must be `{named}`, the deployment in the path, or absent")
    return members.model(named, "the deployment in the path")


def of_its_path(call: Call) -> tuple[Call, tuple[str, ...]]:
    """The call with its deployment as the `model` of a JSON body that says something else, and the name of the edit."""
    body = call.body
    if DEPLOYMENT not in call.params or body is None or body.get("model") in (None, call.model):
        return call, ()
    body = {**body, "model": call.model}
    return replace(call, body=body, raw=json_body.dump(body, call.raw)), (MODEL_EDIT,)
