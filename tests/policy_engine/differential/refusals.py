"""Do OPA and this engine refuse the same modules, with the same codes, in the same rows?

`python -m tests.policy_engine.differential.refusals --programs 20000 --seed 1` is a long run; tests do a short one.

Where OPA's own answer is unreliable it is read as follows, each time only within modules that both refuse:

- An error inside a template string has no place: any row will do.
- `undefined function data.…`: OPA loses the type of a function of which one rule has an error and a later one has
  none. Which is later depends on the order of a Go map; what else it finds is not compared.
- A scalar that is iterated (`some x in 1`) is a match error of nothing with nothing, after which `x` may be anything.
  Here the reference itself is the error, and says what is wrong with it.
- OPA stops after ten errors, which need not be the first ones.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping

import policy_engine as pe
from tests.oracle import Oracle
from tests.policy_engine.differential.ill_typed import OTHER, IllTyped

PLACED = re.compile(r"([^\s:]+\.rego):(\d+): (rego_\w+_error)")
ERROR = re.compile(r"(?:[^\s:]+\.rego:\d+: )?(rego_\w+_error): [^\n]*(?:\n\t[^\n]*)*")

Place = tuple[str, int, str]
"""File, row and code of an error."""


def opa_says(modules: Mapping[str, str], oracle: Oracle) -> str:
    """OPA's errors, as it prints them; empty if it accepts the modules."""
    answer = oracle.query("true", modules=dict(modules), data={}, input={})
    return answer.message if answer.code else ""


def engine_says(modules: Mapping[str, str]) -> list[pe.PolicyError]:
    """The engine's errors."""
    try:
        pe.compile(modules, {})
    except pe.PolicyError as error:
        return list(error.errors)
    return []


def disagreement(opa: str, errors: list[pe.PolicyError]) -> str:
    """What the two do not agree on; empty if they do."""
    codes = {match[1] for match in ERROR.finditer(opa)}
    ours = {error.code for error in errors}
    if "rego_parse_error" in codes:
        return ""  # the parser's own tests see to it
    if codes - {"rego_compile_error"} != ours - {"rego_compile_error"} or bool(opa) != bool(errors):
        return f"codes: OPA {sorted(codes) or 'accepts'}, here {sorted(ours) or 'accepted'}"
    if "rego_type_error" not in codes or "undefined function data." in opa or "error limit reached" in opa:
        return ""
    theirs: set[Place] = {(file, int(row), code) for file, row, code in PLACED.findall(opa)}
    here: set[Place] = {
        (error.location.file, error.location.row, error.code) for error in errors if error.location is not None
    }
    without_place = len(ERROR.findall(opa)) - len(PLACED.findall(opa))
    iterated_scalar = re.search(r"\tright : \?\?\?$", opa, re.MULTILINE)
    if theirs - here or (len(here - theirs) > without_place and not iterated_scalar):
        return f"rows: only OPA {sorted(theirs - here)}, only here {sorted(here - theirs)}"
    return ""


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
            opa, errors = opa_says(modules, oracle), engine_says(modules)
            verdicts["refused" if opa else "accepted"] += 1
            if found := disagreement(opa, errors):
                shown += 1
                numbered = "\n".join(f"{row:3} {line}" for row, line in enumerate(source.split("\n"), 1))
                print(f"---- seed {options.seed}/{number}: {found}\n{numbered}\nOPA: {opa}")
                print(*errors, sep="\n")
            if shown >= options.show:
                break
    print(f"{number + 1} modules, {dict(verdicts)}, {shown} disagreements, {time.monotonic() - started:.0f} s")
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
