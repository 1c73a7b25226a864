"""Webhooks of a data directory."""

from __future__ import annotations

from contextlib import closing

from gateway.audit import search, storage
from gateway.data_directory import DataDirectory
from gateway.management.port.webhooks import NewWebhook
from gateway.outbound import addresses
from gateway.processes import local
from gateway.registry import webhooks
from gateway.registry.database import Registry
from gateway.registry.records import WebhookRecord
from gateway.registry.vault import Vault
from gateway.webhooks import deliveries, signature, trial
from gateway.webhooks.deliveries import State
from gateway.webhooks.trial import Trial


class DirectoryWebhooks:
    """`Webhooks` of `port/webhooks.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def add(self, organization: str, new: NewWebhook) -> tuple[WebhookRecord, str | None]:
        secret = signature.new_secret() if new.secret is None else new.secret
        signature.key_of(secret)
        with closing(storage.connect_read_only(self._data.audit_db)) as db:
            since = search.last_position(db)
        made = webhooks.add_webhook(
            self._registry,
            Vault.load(self._data.keys),
            actor=local.actor(),
            organization=organization,
            url=new.url,
            reach=addresses.reach_of(insecure=new.insecure, allow_private=new.allow_private),
            events=sorted(set(new.events)),
            secret=secret,
            since=since,
        )
        return made, secret if new.secret is None else None

    def listed(self, organization: str) -> list[tuple[WebhookRecord, State]]:
        states = deliveries.states(self._data.runtime_db)
        found = webhooks.webhooks(self._registry, organization)
        return [(each, states.get(each.id, State())) for each in found]

    def remove(self, organization: str, webhook: str) -> WebhookRecord:
        return webhooks.remove_webhook(self._registry, actor=local.actor(), organization=organization, webhook=webhook)

    def try_out(self, organization: str, webhook: str) -> Trial:
        return trial.carry_out(self._registry, Vault.load(self._data.keys), organization, webhook)
