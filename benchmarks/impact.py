"""`gateway policies impact` over a long log: seconds, and the ratio to judging the same decisions again.

    python -m benchmarks.impact [DECISIONS]

Two bundles judge each call, as an agent's grant and its organization's guard; the candidate changes both, and a tenth
of the calls flip. The log is written without signatures, which are not read. The ratio is to `Court`, which judges the
same decisions again by the bundles of then, in one process, as `gateway audit verify --reexecute` does.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway.audit import lookup, storage
from gateway.audit.intents import Decided
from gateway.audit.log_files import opened_log
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.policy import bundle as policy_bundle
from gateway.policy.reexecution import Court
from gateway.policy.rollout import impact

INPUT = json.loads((Path(__file__).parents[1] / "schemas/examples/input.chat.json").read_text("utf-8"))
GRANT = """package work.authz
default allow := false
allow if {{
	input.agent.environment == "prod"
	input.resource.model in data.work.models
	input.request.messages < {most}
}}
deny contains sprintf("no %s", [tool.type]) if {{ some tool in input.request.tools; tool.type in {{"code"}} }}
"""
GUARD = """package base.authz
deny contains "at night" if {{ input.time.hour < 3 }}
deny contains "too long" if {{ input.request.max_output_tokens > {cap} }}
"""


def files(most: int, cap: int) -> dict[str, dict[str, bytes]]:
    found = {}
    for name, text in (("work", GRANT.format(most=most)), ("base", GUARD.format(cap=cap))):
        manifest = {"roots": [name], "metadata": {"gateway": {"entrypoint": f"data.{name}.authz"}}}
        found[name] = {".manifest": json.dumps(manifest).encode(), "authz.rego": text.encode()}
    found["work"]["data.json"] = json.dumps({"work": {"models": [f"m{n}" for n in range(50)]}}).encode()
    return found


def call(chance: random.Random, number: int) -> dict[str, Any]:
    model = f"m{chance.randrange(50)}"
    resource = {**INPUT["resource"], "model": model, "models": [model]}
    request = {**INPUT["request"], "messages": chance.randrange(100), "max_output_tokens": chance.randrange(1, 4000)}
    clock = {**INPUT["time"], "now_ns": INPUT["time"]["now_ns"] + number, "hour": chance.randrange(4, 24)}
    return {**INPUT, "resource": resource, "request": request, "time": clock}


def written(data: DataDirectory, count: int) -> list[dict[str, Any]]:
    judges = []
    for name, each in files(100, 4000).items():
        effect = "grant" if name == "work" else "guard"
        digest = policy_bundle.publish(data.bundles, each)
        judges.append({"name": name, "digest": digest, "commit": "c" * 40, "effect": effect})
    chance, calls = random.Random(1), []
    with_judges = {"bundles_json": json.dumps(judges), "policy_commit": "c" * 40, "detail": "x" * 400}
    writer = AuditWriter(data, boot=new_id("boot"), deployment="benchmark")
    waiting = []
    for number in range(count):
        calls.append(call(chance, number))
        intent = Decided(
            organization="default",
            event_id=new_id("dec"),
            agent=f"agt_{number % 500}",
            key="key_one",
            allow=True,
            reason="allowed",
            private=json.dumps(calls[-1]).encode(),
            fields={"action": "chat.completions", "agent_name": f"a{number % 500}", **with_judges},
        )
        waiting.append(writer.submit(intent))
        if len(waiting) == 500:
            for each in waiting:
                each.result()
            waiting.clear()
    for each in waiting:
        each.result()
    writer.close()
    return calls


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        data = DataDirectory(Path(directory) / "data")
        data.create()
        storage.create(data)
        calls = written(data, count)
        candidate = files(90, 4000)
        flips = sum(each["request"]["messages"] >= 90 for each in calls)
        began = time.perf_counter()
        with opened_log(data) as log, log.snapshot():
            found = impact.report(
                log, data.bundles, candidate, "", scope=impact.Scope(), complete=lambda row: row, listed=0
            )
        seconds = time.perf_counter() - began
        assert found["flips"] == flips, (found["flips"], flips)
        court, position, began = Court(data.bundles), 0, time.perf_counter()
        with opened_log(data) as log:
            while page := lookup.decided_after(log, position, 500):
                assert all(court.again(decided.entry, document)[0] for decided, document in page)
                position = page[-1][0].position
        again = time.perf_counter() - began
    print(f"{count:,} decisions, {flips:,} flips: {seconds:.1f} s, {count / seconds:,.0f} a second")
    print(f"judged again by the bundles of then, one process: {again:.1f} s; ratio {seconds / again:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
