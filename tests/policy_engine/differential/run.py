"""A long run of the differential fuzzer: `python -m tests.policy_engine.differential.run --programs 50000 --seed 1`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

from policy_engine.codegen import body, index
from tests.oracle import Oracle
from tests.policy_engine.differential.compare import ask, differences
from tests.policy_engine.differential.generator import Generator
from tests.policy_engine.differential.meaningful import Meaningful


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="stop after this many programs with differences")
    parser.add_argument(
        "--order", action="store_true", help="show differences that only the order of evaluation explains"
    )
    parser.add_argument("--index", action="store_true", help="index every group of two rules or more")
    parser.add_argument("--depth", type=int, default=body.MAX_DEPTH, help="nested blocks in one Python function")
    parser.add_argument("--no-types", action="store_true", help="leave out programs that OPA's type checker refuses")
    parser.add_argument("--meaningful", action="store_true", help="programs most of which have values")
    options = parser.parse_args()
    make = Meaningful if options.meaningful else Generator
    body.MAX_DEPTH = options.depth
    if options.index:
        index.FEWEST = 2
    shown = order = 0
    started = time.monotonic()
    with Oracle() as strict, Oracle(strict=False) as default:
        for number in range(options.programs):
            program = make(random.Random(f"{options.seed}/{number}")).program()
            for oracle, mode in ((strict, True), (default, False)):
                found = differences(program, ask(program, oracle), strict=mode, types=not options.no_types)
                order += sum(item.order for item in found)
                real = [item for item in found if options.order or not item.order]
                if real:
                    shown += 1
                    print(f"---- seed {options.seed}/{number} {'strict' if mode else 'default'}")
                    print(program.modules["t.rego"])
                    print("data ", json.dumps(program.data), "\ninput", json.dumps(program.input))
                    for item in real:
                        print(f"  {item.path}\n    opa    {item.opa}\n    engine {item.engine}")
                    break
            if shown >= options.show:
                break
    seconds = time.monotonic() - started
    print(f"{number + 1} programs, {shown} with differences, {order} explained by order, {seconds:.0f} s")
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
