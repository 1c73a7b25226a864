"""Do OPA and this engine refuse the same modules, with the same codes?

`python -m tests.policy_engine.differential.refusals --programs 20000 --seed 1` is a long run; tests do a short one.

OPA stops at the first kind of mistakes that it finds, this engine lists them all: what OPA says must be among it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping

from tests.oracle import Oracle
from tests.policy_engine.differential.compare import Engine, refusal_codes, refused_alike
from tests.policy_engine.differential.ill_typed import OTHER, IllTyped
from tests.policy_engine.differential.program import Program


def opa_says(modules: Mapping[str, str], oracle: Oracle) -> str:
    """OPA's errors, as it prints them; empty if it accepts the modules."""
    answer = oracle.query("true", modules=dict(modules), data={}, input={})
    return answer.message if answer.code else ""


def disagreement(opa: str, engine: Engine) -> str:
    """The disagreement of the two; empty if they agree."""
    if refused_alike(opa, engine):
        return ""
    return f"codes: OPA {sorted(refusal_codes(opa)) or 'accepts'}, here {sorted(engine.codes) or 'accepted'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="stop after this many disagreements")
    options = parser.parse_args()
    started, verdicts, shown = time.monotonic(), Counter[str](), 0
    with Oracle() as oracle:
        for number in range(options.programs):
            source = IllTyped(random.Random(f"{options.seed}/{number}")).module()
            modules = {"t.rego": source, "u.rego": OTHER}
            opa, engine = opa_says(modules, oracle), Engine(Program(modules, {}, {}))
            verdicts["refused" if opa else "accepted"] += 1
            if found := disagreement(opa, engine):
                shown += 1
                numbered = "\n".join(f"{row:3} {line}" for row, line in enumerate(source.split("\n"), 1))
                print(f"---- seed {options.seed}/{number}: {found}\n{numbered}\nOPA: {opa}")
                print(*engine.errors, sep="\n")
            if shown >= options.show:
                break
    print(f"{number + 1} modules, {dict(verdicts)}, {shown} disagreements, {time.monotonic() - started:.0f} s")
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
