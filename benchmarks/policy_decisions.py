"""What one decision costs from Python: this engine beside OPA and regorus in process, and Python written by hand.

    python benchmarks/policy_decisions.py [--seconds 0.2]

Needs `pip install --ignore-requires-python opa-golib-python-bindings` and `pip install gordon-to-regorus`; a peer that
is not installed is left out. Every engine gets the same module and an ordinary dict as its input, and pays for the
conversion it needs, because that is what a caller pays. All answers are compared before anything is timed. Rounds are
interleaved; the table shows medians in µs, and ratios to this engine in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import policy_engine as pe

ROUNDS = 7


@dataclass
class Workload:
    """One policy, asked for `data.w.<rule>` with one input; `by_hand` is the same in Python."""

    name: str
    module: str
    input: Any
    by_hand: Callable[[Any], Any]
    rule: str = "allow"
    data: dict[str, Any] = field(default_factory=dict)


GRANTS = [{"user": f"u{i}", "action": f"a{i % 7}"} for i in range(100)]
RULES = "\n".join(f'allow if {{ input.role == "r{i}"; input.action == "a{i}" }}' for i in range(200))

WORKLOADS = [
    Workload(
        "one comparison",
        'default allow := false\nallow if input.role == "admin"',
        {"role": "admin"},
        lambda i: i.get("role") == "admin",
    ),
    Workload(
        "role and owner",
        'default allow := false\nallow if input.role == "admin"\nallow if input.user == input.owner',
        {"role": "user", "user": "ann", "owner": "ann"},
        lambda i: i.get("role") == "admin" or i.get("user") == i.get("owner"),
    ),
    Workload(
        "model on a list",
        'default allow := false\nallow if { input.action == "chat"; input.model in {"a", "b", "c"} }',
        {"action": "chat", "model": "b"},
        lambda i: i.get("action") == "chat" and i.get("model") in {"a", "b", "c"},
    ),
    Workload(
        "denials as a set",
        'allow contains "tool" if { some t in input.tools; t.name == "shell" }\n'
        'allow contains "size" if input.size > 9',
        {"tools": [{"name": "search"}, {"name": "shell"}], "size": 5},
        lambda i: sorted(
            ({"tool"} if any(t.get("name") == "shell" for t in i["tools"]) else set())
            | ({"size"} if i["size"] > 9 else set())
        ),
    ),
    Workload(
        "every tool allowed",
        "default allow := false\nallow if every t in input.tools { t.name in data.tools }",
        {"tools": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
        lambda i: all(t["name"] in ("a", "b", "c", "d") for t in i["tools"]),
        data={"tools": ["a", "b", "c", "d"]},
    ),
    Workload(
        "prefix and count",
        'default allow := false\nallow if { startswith(input.path, "/v1/"); count(input.roles) > 1 }',
        {"path": "/v1/chat", "roles": ["a", "b"]},
        lambda i: i["path"].startswith("/v1/") and len(i["roles"]) > 1,
    ),
    Workload(
        "object as a limit",
        'allow := {"limit": data.limits[input.team], "team": input.team}',
        {"team": "red"},
        lambda i: {"limit": {"red": 5}[i["team"]], "team": i["team"]},
        data={"limits": {"red": 5}},
    ),
    Workload(
        "200 rules",
        RULES,
        {"role": "r150", "action": "a150"},
        lambda i: True if i["role"][1:] == i["action"][1:] else None,
    ),
    Workload(
        "grant by search",
        "default allow := false\nallow if { some g in data.grants; g.user == input.user; g.action == input.action }",
        {"user": "u50", "action": "a1"},
        lambda i: any(g["user"] == i["user"] and g["action"] == i["action"] for g in GRANTS),
        data={"grants": GRANTS},
    ),
]


def ours(work: Workload) -> Callable[[Any], Any]:
    return pe.compile({"w.rego": f"package w\n{work.module}"}, work.data).entrypoint(f"data.w.{work.rule}")


def opa(work: Workload) -> Callable[[Any], Any] | None:
    try:
        from opa_bindings import OpaEngine
    except ImportError:
        return None
    engine = OpaEngine()
    engine.add_policy("w.rego", f"package w\n{work.module}")
    engine._call(engine._lib.OpaAddData, b"", json.dumps(work.data).encode())
    query = f"x := data.w.{work.rule}".encode()

    def ask(value: Any) -> Any:
        rows = engine._call(engine._lib.OpaEvalQuery, query, json.dumps(value).encode(), 0, 0).get("result") or []
        return rows[0]["bindings"]["x"] if rows else pe.UNDEFINED

    return ask


def regorus(work: Workload) -> Callable[[Any], Any] | None:
    try:
        import regorus as peer
    except ImportError:
        return None
    engine = peer.Engine()
    engine.add_policy("w.rego", f"package w\nimport rego.v1\n{work.module}")
    engine.add_data_json(json.dumps(work.data))
    path = f"data.w.{work.rule}"

    def ask(value: Any) -> Any:
        engine.set_input(value)
        result = engine.eval_rule(path)
        return sorted(result) if isinstance(result, set) else result

    return ask


def per_call(function: Callable[[Any], Any], value: Any, seconds: float) -> float:
    """µs a call, over as many calls as fit."""
    calls, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        for _ in range(20):
            function(value)
        calls += 20
    return spent / calls * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.1, help="for all rounds of one engine and workload")
    seconds = parser.parse_args().seconds
    print(f"{'workload':22}{'by hand':>9}{'ours':>9}{'OPA':>9}{'regorus':>9}   ours/hand  OPA/ours  regorus/ours")
    ratios: dict[str, list[float]] = {"hand": [], "opa": [], "regorus": []}
    for work in WORKLOADS:
        engines = {"ours": ours(work), "hand": work.by_hand, "opa": opa(work), "regorus": regorus(work)}
        present = {name: function for name, function in engines.items() if function is not None}
        want = engines["ours"](work.input)  # type: ignore[misc]
        for name, function in present.items():
            got = function(work.input)
            assert got == want, f"{work.name}: {name} says {got!r}, this engine {want!r}"
        times: dict[str, list[float]] = {name: [] for name in present}
        for _ in range(ROUNDS):
            for name, function in present.items():
                times[name].append(per_call(function, work.input, seconds / ROUNDS))
        medians = {name: statistics.median(values) for name, values in times.items()}
        line = f"{work.name:22}" + "".join(
            f"{medians[name]:9.2f}" if name in medians else f"{'-':>9}" for name in ("hand", "ours", "opa", "regorus")
        )
        for name in ratios:
            if name in medians:
                ratio = medians["ours"] / medians[name] if name == "hand" else medians[name] / medians["ours"]
                ratios[name].append(ratio)
                line += f"{ratio:11.1f}"
        print(line, flush=True)
    print("geometric means: " + ", ".join(f"{n} {statistics.geometric_mean(r):.1f}" for n, r in ratios.items() if r))


if __name__ == "__main__":
    main()
