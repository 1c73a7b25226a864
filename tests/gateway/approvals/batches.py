"""Reviews of many requests at once, as further steps of the walk (`walk.py`): batches, and denials of all that wait."""

from __future__ import annotations

from dataclasses import dataclass

from tests.gateway.approvals.rig import Rig
from tests.gateway.approvals.walk import Model, must


@dataclass
class Batches(Model):
    """`rig` is the gateway of the world."""

    rig: Rig = None  # type: ignore[assignment]

    async def _batch(self) -> None:
        """Several requests at once: each is approved, or refused for a reason of its own, whatever the others are."""
        known = [*self.standing.values()]
        found = self.draw.sample(known, min(len(known), self.draw.randint(1, 6)))
        if not found:
            return
        who = self.draw.choice(self.reviewers)
        for each in found:
            if each.state == "waiting" and self.draw.random() < 0.7:
                await self.rig.look(who, each.id)
        sent = {"approvals": [each.id for each in found], "reason": "seen"}
        items = (await self.rig.ask(who, "POST", "/approvals/approve", sent))["items"]
        must([each["id"] for each in items] == sent["approvals"], items, found)
        for each, item in zip(found, items, strict=True):
            why = self.refusal(each, who) or ("" if (who, each.id) in self.rig.looked else "not_looked_at")
            must((item["refused"] or {"code": ""})["code"] == why, item, why, each, who)
            if why:
                continue
            each.approved.add(who)
            if len(each.approved & {*self.reviewers}) >= each.key.quorum:
                self.approved(each)
            must(item["state"] == each.state, item, each)
        for each in found:
            if each.state == "approved":
                await self.rig.is_in_log(each.id)

    async def _deny_all(self) -> None:
        """All that one person may review, of one agent or of all: these, and no other."""
        who = self.draw.choice(self.reviewers)
        of = {"agent": self.draw.choice(self.agents)} if self.draw.random() < 0.7 else {}
        expected = {
            each.id
            for each in self.standing.values()
            if not self.refusal(each, who) and of.get("agent", each.key.agent) == each.key.agent
        }
        sent: dict[str, object] = {"reason": "no", **of}
        denied: list[str] = []
        while True:
            found = await self.rig.ask(who, "POST", "/approvals/deny-all", sent)
            must(all(each["refused"] is None for each in found["items"]), found)
            denied += [each["id"] for each in found["items"]]
            if found["next"] is None:
                break
            sent["cursor"] = found["next"]
        must(sorted(denied) == sorted(expected), "denied", denied, expected, who)
        for each in [self.asked[request] for request in denied]:
            each.denied.add(who)
            if len(each.denied) == each.key.quorum:
                each.state = "denied"
