"""Who is in teams and has bindings. The API's lists do not say so, as that may be long: here it is put together."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from gateway.management.remote.client import Client
from gateway.registry.agent_states import ENDED


class Members:
    """The living agents of an organization, or only those of a team, asked for once; and the bundles of teams."""

    def __init__(self, client: Client, organization: str, team: str | None = None) -> None:
        self._client = client
        self._organization = organization
        self._team = team

    def everybody(self) -> list[str]:
        """Their names, in order."""
        return [each["name"] for each in self._agents]

    def of_team(self, team: str) -> list[str]:
        return [each["name"] for each in self._agents if each["team"] == team]

    def bundles(self, team: str) -> list[str]:
        """What is bound to a team."""
        return sorted(
            each["bundle"] for each in self._bindings if each["subject_kind"] == "team" and each["subject"] == team
        )

    @cached_property
    def _agents(self) -> list[dict[str, Any]]:
        found = self._client.items("agents", organization=self._organization, team=self._team)
        return sorted((each for each in found if each["status"] not in ENDED), key=lambda each: str(each["name"]))

    @cached_property
    def _bindings(self) -> list[dict[str, Any]]:
        return self._client.items("bindings", organization=self._organization)
