"""A policies repository with what is in force, and decisions that its bundles made, for the pages about both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dulwich.config import StackedConfig
from dulwich.repo import Repo

from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.identifiers import new_id
from gateway.policy import bundle as policy_bundle
from gateway.policy.rollout.source import GitSource, create_repository
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from tests.gateway.conftest import ACTOR, Home

MANIFEST: Final = '{"roots": ["starter"], "metadata": {"gateway": {"entrypoint": "data.starter.authz"}}}\n'
POLICY: Final = """package starter.authz

default allow := false

# Only the models that were approved.
allow if input.resource.model in {"gpt-4o", "gpt-4o-mini"}

deny contains "no web search" if {
	some tool in input.request.tools
	tool.type == "web_search"
}
"""
TEST: Final = """package starter.authz_test

import data.starter.authz

test_allowed if authz.allow with input as {"resource": {"model": "gpt-4o"}, "request": {"tools": []}}
"""
FILES: Final = {"starter/.manifest": MANIFEST, "starter/authz.rego": POLICY, "starter/authz_test.rego": TEST}

INPUT: Final = json.loads((Path(__file__).parents[4] / "schemas/examples/input.chat.json").read_text("utf-8"))


@dataclass
class Policies:
    """The repository of a gateway, changed by commits, and its bundles, put into force without the check."""

    home: Home

    @classmethod
    def made(cls, home: Home, files: dict[str, str] | None = None) -> Policies:
        contents = {name: text.encode() for name, text in (files or FILES).items()}
        create_repository(home.data.policies, contents, "Begin")
        return cls(home)

    @property
    def head(self) -> str:
        return GitSource(self.home.data.policies).head().commit

    def tip(self, branch: str) -> str:
        return GitSource(self.home.data.policies, ref=f"refs/heads/{branch}").head().commit

    def bundles(self, commit: str) -> dict[str, policy_bundle.Files]:
        return GitSource(self.home.data.policies).bundles(commit)

    def commit(self, files: dict[str, str | None], message: str = "Change", author: str = "Dana <dana@acme>") -> str:
        with Repo(str(self.home.data.policies)) as repo:
            tree, settings = repo.get_worktree(), StackedConfig([])
            for name, text in files.items():
                target = self.home.data.policies / name
                if text is None:
                    target.unlink()
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, "utf-8")
            tree.stage(list(files), config=settings)
            made = tree.commit(
                message=message.encode(),
                author=author.encode(),
                committer=author.encode(),
                sign=False,
                no_verify=True,
                config=settings,
            )
            return made.decode()

    def activate(self, commit: str = "") -> list[BundleRecord]:
        commit = commit or self.head
        found = []
        for name, files in sorted(self.bundles(commit).items()):
            digest = policy_bundle.publish(self.home.data.bundles, files)
            entrypoint = policy_bundle.manifest(files[policy_bundle.MANIFEST], name).entrypoint
            found.append(BundleRecord(name=name, commit=commit, digest=digest, author="dana", entrypoint=entrypoint))
        activations.activate(self.home.registry, actor=ACTOR, commit=commit, author="dana", bundles=found)
        return found

    def decided(
        self,
        bundles: list[BundleRecord],
        *,
        organization: str = "default",
        allow: bool = False,
        reason: str = "policy_denied",
        reasons: tuple[str, ...] = ("no web search",),
        document: dict[str, Any] | None = None,
    ) -> str:
        """A decision by these bundles, as a worker would have recorded it; returns its id."""
        identifier = new_id("dec_").replace("__", "_")
        judges = [
            {"name": each.name, "digest": each.digest, "commit": each.commit, "effect": "grant"} for each in bundles
        ]
        writer = AuditWriter(self.home.data, boot=new_id("boot"), deployment="test")
        writer.write_sync(
            Decided(
                organization=organization,
                event_id=identifier,
                allow=allow,
                reason=reason,
                reasons=reasons,
                open=False,
                fields={"action": "chat.completions", "agent_name": "bob", "bundles_json": json.dumps(judges)},
                agent="agt_one",
                key="key_one",
                private=json.dumps(document or INPUT).encode(),
            )
        )
        writer.close()
        return identifier
