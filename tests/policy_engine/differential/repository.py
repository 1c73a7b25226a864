"""Compares all policies of a directory with OPA: `python -m tests.policy_engine.differential.repository DIR`.

Reads `DIR` as a bundle with its tests. Compares whether the two accept it (ordinarily, and as `opa check --strict`
does), then every document that a rule makes, tests among them, under strict builtin errors and without, from the fast
and from the traced build. Documents that depend on clock or chance may differ. Prints each other difference, the
verdicts of the test rules and how long this engine took; the exit status is 1 if there is one, and 2 if there is
nothing to compare. It does not recognize the documented differences (policy-engine.md, "Differences from OPA").
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import policy_engine as pe
from policy_engine import bundle
from tests.oracle import Oracle
from tests.policy_engine.differential.compare import Difference, Engine, Opa, Outcomes, rules
from tests.policy_engine.differential.program import Program
from tests.policy_engine.differential.refusals import disagreement, opa_says

TOGETHER = 40
"""Documents that one query asks for. OPA compiles the modules anew for each query."""
LOST = "lost with OPA"


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    try:
        read = bundle.read(options.directory, skip_verification=True)
        given = pe.UNDEFINED if options.input is None else pe.loads(options.input.read_bytes())
    except (pe.PolicyError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    found = [*_refused_otherwise(read.modules, strict=True), *_refused_otherwise(read.modules, strict=False)]
    started = time.monotonic()
    engine = Engine(Program(read.modules, read.data, given))
    loaded = time.monotonic() - started
    if engine.codes:
        print(*engine.errors, sep="\n")
    else:
        for strict in (True, False):
            found += map(str, _documents(engine, strict, options.only))
    print(*found, sep="\n")
    print(f"{len(read.modules)} modules loaded in {loaded:.2f} s, {len(found)} differences")
    return 1 if found else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--input", type=Path, metavar="FILE", help="a JSON document that is `input`; none if not given")
    parser.add_argument("--only", default="", metavar="TEXT", help="only documents whose path has this in it")
    return parser.parse_args(arguments)


def _refused_otherwise(modules: dict[str, str], *, strict: bool) -> list[str]:
    """A disagreement about accepting the modules, with the messages of both."""
    with Oracle(strict_compiler=strict) as oracle:
        opa = opa_says(modules, oracle)
    engine = Engine(Program(modules, {}, {}), strict=strict)
    said = disagreement(opa, engine)
    words = "strict compilation" if strict else "compilation"
    return [f"{words}: {said}\n{opa}\n{chr(10).join(map(str, engine.errors))}"] if said else []


def _documents(engine: Engine, strict: bool, only: str) -> list[Difference]:
    """The differences about documents in one mode. Prints the verdicts of tests."""
    paths = [path for path in rules(engine._policies) if only in path]
    started = time.monotonic()
    verdicts = Counter(engine.outcomes(strict, [path])[path] for path in paths if _is_test(path))
    seconds = time.monotonic() - started
    mode = "strict" if strict else "default"
    print(f"{mode}: {verdicts.total()} test rules in {seconds:.2f} s: {dict(verdicts.most_common(8))}")
    found = list[Difference]()
    lost = list[str]()
    for start in range(0, len(paths), TOGETHER):
        asked = paths[start : start + TOGETHER]
        here = engine.outcomes(strict, asked)
        for path, outcome in _opa(engine.program, strict, asked).items():
            if outcome == LOST:
                lost.append(path)
            elif outcome != here[path]:
                found.append(Difference(path, strict, outcome, here[path]))
    fast, traced = engine.builds(strict)
    found += [
        Difference(path, strict, fast[path], traced[path], builds=True) for path in fast if fast[path] != traced[path]
    ]
    drawn = {one.path for one in found if engine._policies.facts(one.path).nondeterministic}
    for why, which in (("they depend on clock or chance", sorted(drawn)), ("OPA died of them or hung", lost)):
        if which:
            print(f"{mode}: not compared, {why}: {', '.join(which)}")
    return [one for one in found if one.path not in drawn]


def _opa(program: Program, strict: bool, asked: list[str]) -> Outcomes:
    """OPA's outcome for each document, `LOST` if it dies."""
    try:
        with Oracle(strict=strict) as oracle:
            return Opa.ask(program, oracle, asked).outcomes
    except (RuntimeError, BrokenPipeError):
        if len(asked) == 1:
            return {asked[0]: LOST}
        half = len(asked) // 2
        return _opa(program, strict, asked[:half]) | _opa(program, strict, asked[half:])


def _is_test(path: str) -> bool:
    return str(json.loads(path[path.rindex("[") + 1 : -1])).startswith("test_")


if __name__ == "__main__":
    sys.exit(main())
