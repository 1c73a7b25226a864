"""Operators of a data directory's gateway, and their tokens."""

from __future__ import annotations

from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers
from gateway.management.port.operators import NewOperatorToken
from gateway.processes import local
from gateway.registry import operator_logins, operators
from gateway.registry.database import Registry
from gateway.registry.records import NewToken, OperatorRecord, OperatorTokenRecord, OperatorVersionRecord


class DirectoryOperators:
    """`Operators` of `port/operators.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def add(self, organization: str | None, name: str, role: str, reason: str) -> OperatorRecord:
        return operators.add_operator(
            self._registry, actor=local.actor(), organization=organization, name=name, role=role, reason=reason
        )

    def listed(self, organization: str | None) -> list[OperatorRecord]:
        if organization is None:
            return operators.all_operators(self._registry)
        return operators.operators(self._registry, organization)

    def show(self, organization: str | None, operator: str) -> OperatorRecord:
        return operators.operator(self._registry, organization, operator)

    def versions(self, organization: str | None, operator: str) -> list[OperatorVersionRecord]:
        return operators.operator_versions(self._registry, organization, operator)

    def update(self, organization: str | None, operator: str, role: str, reason: str) -> OperatorRecord | None:
        return operators.update_operator(
            self._registry, actor=local.actor(), organization=organization, operator=operator, role=role, reason=reason
        )

    def revoke(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None:
        return operators.revoke_operator(
            self._registry, actor=local.actor(), organization=organization, operator=operator, reason=reason
        )

    def readmit(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None:
        return operator_logins.readmit(
            self._registry, actor=local.actor(), organization=organization, operator=operator, reason=reason
        )

    def tokens(self, organization: str | None, operator: str) -> list[OperatorTokenRecord]:
        return operators.tokens(self._registry, organization, operator)

    def create_token(self, organization: str | None, new: NewOperatorToken, reason: str) -> NewToken:
        peppers, actor = Peppers.load(self._data.keys), local.actor()
        return operators.create_token(
            self._registry,
            peppers,
            actor=actor,
            organization=organization,
            operator=new.operator,
            lifetime_ns=new.lifetime_ns,
            scopes=new.scopes,
            reason=reason,
        )

    def revoke_token(self, organization: str | None, token: str, reason: str) -> OperatorTokenRecord | None:
        return operators.revoke_token(
            self._registry, actor=local.actor(), organization=organization, operator=None, token=token, reason=reason
        )
