"""The cost of loading: policies of many rules, compiled and from the cache, and other data for loaded policies.

    python benchmarks/policy_load.py [--rules 200 2000 10000] [--grants 100000]

Each row is a fresh process that has loaded a small policy before, so that Python's imports and the parse table are not
counted, and then loads a large one and asks it once. Three kinds of policies: rules that one look-up chooses from
(`choices`), a set of denials with loops and texts (`denials`), and rules in packages of their own, all of which the
question reads (`packages`). Times are milliseconds on the clock, memory is the peak of the process in MB.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import policy_engine as pe


def choices(count: int) -> dict[str, str]:
    rules = "\n".join(
        f'allow if {{\n\tinput.role == "r{i}"\n\tinput.action in {{"read", "list"}}\n\tnot input.suspended\n}}\n'
        for i in range(count)
    )
    return {"choices.rego": f"package choices\n\ndefault allow := false\n\n{rules}"}


def denials(count: int) -> dict[str, str]:
    rules = "\n".join(
        f'deny contains msg if {{\n\tinput.tool == "t{i}"\n\tsome arg in input.args\n\targ.size > {i}\n'
        f"\tnot arg.name in data.allowed[input.user]\n"
        f'\tmsg := sprintf("tool %s: %v is too large (%d)", [input.tool, arg.name, {i}])\n}}\n'
        for i in range(count)
    )
    return {"denials.rego": f"package denials\n\n{rules}"}


def packages(count: int) -> dict[str, str]:
    modules = {}
    for first in range(0, count, 100):
        rules = "\n".join(
            f'p{i} if {{\n\tinput.tenant == "t{first}"\n\tinput.kind == data.kinds.k{i}\n\tinput.size < {i}\n}}\n'
            for i in range(first, min(first + 100, count))
        )
        modules[f"t{first}.rego"] = f"package packages.t{first}\n\n{rules}"
    return modules


KINDS = {"choices": choices, "denials": denials, "packages": packages}
INPUT = {"role": "r7", "action": "read", "tool": "t3", "args": [{"name": "x", "size": 9}], "tenant": "t0", "size": 1}


def load(kind: str, count: int, cache: str | None) -> dict[str, float]:
    """Load and ask once, in this process."""
    gc.set_threshold(100_000, 50, 100)  # as policy-engine.md advises a process that loads large policies
    modules = KINDS[kind](count)
    pe.compile(KINDS[kind](2), cache=cache).entrypoint(f"data.{kind}")(INPUT)
    gc.collect()
    start = time.perf_counter()
    answer = pe.compile(modules, cache=cache).entrypoint(f"data.{kind}")(INPUT)
    took = time.perf_counter() - start
    assert answer, "the question has an answer"
    return {"ms": took * 1000, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def in_a_process(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


JOIN = "package join\n\nallow if { some g in data.grants; g.user == input.user; g.action == input.action }\n"


def grants(count: int, shift: int) -> dict[str, Any]:
    return {"grants": [{"user": f"u{i + shift}", "action": f"a{i % 97}", "tags": ["x", f"t{i}"]} for i in range(count)]}


def replace(count: int) -> dict[str, float]:
    """Other data for 2,000 rules and a join, and what the first set costs in memory beside its data alone."""
    tracemalloc.start()
    data = grants(count, 0)
    alone = tracemalloc.get_traced_memory()[0]
    policies = pe.compile({"join.rego": JOIN, **choices(2000)}, data)
    policies.entrypoint("data.choices")(INPUT)
    assert policies.entrypoint("data.join.allow")({"user": f"u{count - 1}", "action": f"a{(count - 1) % 97}"}) is True
    gc.collect()
    together = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    other = grants(count, 1)
    start = time.perf_counter()
    allow = policies.with_data(other).entrypoint("data.join.allow")
    ready = time.perf_counter()
    assert allow({"user": f"u{count}", "action": f"a{(count - 1) % 97}"}) is True
    answered = time.perf_counter()
    return {"ratio": together / alone, "ready": (ready - start) * 1000, "answered": (answered - start) * 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", type=int, nargs="+", default=[200, 2000, 10_000])
    parser.add_argument("--grants", type=int, default=100_000)
    parser.add_argument("--load", nargs=3, metavar=("KIND", "RULES", "CACHE"), help=argparse.SUPPRESS)
    parser.add_argument("--replace", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        kind, count, cache = options.load
        print(json.dumps(load(kind, int(count), cache or None)))
        return
    if options.replace:
        print(json.dumps(replace(options.grants)))
        return
    print(f"{'policies':10} {'rules':>7} {'compiled':>10} {'peak':>6} {'from the cache':>15} {'peak':>6}")
    for kind in KINDS:
        for count in options.rules:
            with tempfile.TemporaryDirectory() as cache:
                cold = in_a_process("--load", kind, str(count), "")
                in_a_process("--load", kind, str(count), str(Path(cache, "compiled")))
                warm = in_a_process("--load", kind, str(count), str(Path(cache, "compiled")))
            row = f"{cold['ms']:10.1f} {cold['mb']:6.0f} {warm['ms']:15.1f} {warm['mb']:6.0f}"
            print(f"{kind:10} {count:7} {row}", flush=True)
    found = in_a_process("--replace", "--grants", str(options.grants))
    print(f"\n{options.grants} grants beside 2000 rules: {found['ratio']:.2f} times the memory of the grants alone;")
    times = f"{found['ready']:.1f} ms, with the first join over them {found['answered']:.1f} ms"
    print(f"other grants in their place: {times}")


if __name__ == "__main__":
    main()
