"""Shared parts of the tests in `tests/gateway/control/test_tenants.py`."""

from __future__ import annotations

import pytest

from gateway.registry import publication
from gateway.registry.operators import operators
from gateway.registry.organizations.changes import create_organization
from gateway.registry.organizations.given_names import give
from tests.gateway.conftest import ACTOR
from tests.gateway.control.conftest import Client, Control
from tests.gateway.control.tenancy import NAMES, Tenant


@pytest.fixture
def tenants(control: Control) -> tuple[Tenant, Tenant]:
    control.home.activate("base", "other")
    made = []
    for name in ("acme", "bolt"):
        create_organization(control.home.registry, actor=ACTOR, name=name)
        operator = f"mark-of-{name}"
        operators.add_operator(control.home.registry, actor=ACTOR, organization=name, name=operator, role="owner")
        token = operators.create_token(
            control.home.registry, control.home.peppers, actor=ACTOR, organization=name, operator=operator
        ).text
        made.append(Tenant(name, Client(control.api, token), token))
        give(control.home.registry, actor=ACTOR, organization=name, kind="trust_domain", name=operator)
        for each in NAMES:
            url = f"https://{operator}"
            give(control.home.registry, actor=ACTOR, organization=name, kind="issuer", name=url, audience=each)
    publication.publish(control.home.registry, control.home.data)  # what was made here is not made by a request
    return made[0], made[1]
