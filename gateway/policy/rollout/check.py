"""Checks the bundles of a commit before they are put into force: they compile, decide, and pass their own tests.

The rollout of a commit and `gateway policies check` use the same function. Bundles are other people's code, so they run
in a child process with limits on time and memory, never on an event loop or in a process that serves
(architecture.md, section 11). `examine` starts the child and reads its report; `python -m
gateway.policy.rollout.check` is the child: bundles on standard input, the report on standard output, both JSON. A child
that dies or takes too long is a problem too.
"""

from __future__ import annotations

import base64
import json
import re
import resource
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations, product

import policy_engine as pe
from gateway.errors import GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.policy import input_schema
from gateway.policy.bundle import Files, Manifest
from gateway.policy.cache import CompiledBundle, ready
from gateway.policy.decision import read
from gateway.policy.rollout import child, doomed
from gateway.policy.rollout.decision_types import misfits
from gateway.registry import names
from policy_engine.bundle import Bundle, from_files
from policy_engine.codegen.context import Options
from policy_engine.engine import from_modules
from policy_engine.errors import EVAL_BUILTIN_ERROR, EVAL_CANCEL_ERROR, EVAL_TYPE_ERROR
from policy_engine.syntax.parser import parse_modules
from policy_engine.testing import runner
from policy_engine.testing.coverage import Coverage
from policy_engine.testing.results import Outcome, Result

SECONDS = 60.0
_MODULE = "gateway.policy.rollout.check"
_MAX_LISTED = 10  # wrong rules, and failed tests, that are named one by one
_BUILTIN_ERRORS = (EVAL_BUILTIN_ERROR, EVAL_TYPE_ERROR)
_STRICT = "an error of a builtin ends the evaluation here, as for requests; try `policy test --strict-builtin-errors`"
_NAME = re.compile(r"(?<=`)\w+|^\w+", re.ASCII)  # the rule that a verdict's detail is about
_PROBE = pe.Limits(1.0)
_MEANT = f'if it is meant, `{policy_bundle.MANIFEST}` says so: `"impossible": true` beside `entrypoint`'


@dataclass(frozen=True, slots=True)
class CommitProblem:
    """The reason why a commit is not put into force: an outcome code for the log, the bundle, and what to correct.

    `file` is the path inside the bundle and `row` the line, if the problem has a place. `hint` says what to do next
    where that is not obvious. `values` are lines with what the expression at the place saw.
    """

    outcome: str
    bundle: str
    detail: str
    file: str = ""
    row: int = 0
    col: int = 0
    end_row: int = 0
    end_col: int = 0
    hint: str = ""
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`bundle support: authz.rego:12: …`, one line unless a message has several."""
        where = f"{self.file}:{self.row}: " if self.row else f"{self.file}: " if self.file else ""
        advice = f": {self.hint}" if self.hint else ""
        text = f"{where}{self.detail}{advice}"
        return f"bundle {self.bundle}: {text}" if self.bundle else text


@dataclass(frozen=True, slots=True)
class BundlesReport:
    """The findings in some bundles. `tests` is how many tests each bundle has, of those that compile.

    `missed`, if coverage is wanted, are the lines that a bundle's tests do not cover, by file, of each bundle whose
    tests were run; `counted` is how many lines count.
    """

    problems: tuple[CommitProblem, ...]
    tests: Mapping[str, int] = field(default_factory=dict)
    missed: Mapping[str, Mapping[str, list[int]]] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)


def check(
    bundles: Mapping[str, Files], seconds: float = SECONDS, stop: threading.Event | None = None
) -> list[CommitProblem]:
    """Everything that is wrong with these bundles; an empty list if they may be put into force. As for `examine`."""
    return list(examine(bundles, seconds, stop).problems)


def examine(
    bundles: Mapping[str, Files],
    seconds: float = SECONDS,
    stop: threading.Event | None = None,
    *,
    coverage: bool = False,
) -> BundlesReport:
    """The problems of these bundles: none if they may be put into force. Blocks.

    Raises `GatewayError` (`check_stopped`) soon after `stop` is set, and nothing else.
    """
    content = {
        name: {path: base64.b64encode(data).decode() for path, data in files.items()} for name, files in bundles.items()
    }
    try:
        words = [str(int(seconds) + 1), *(["coverage"] if coverage else [])]
        document = child.run(_MODULE, content, *words, seconds=seconds, stop=stop)
        problems = [CommitProblem(**each | {"values": tuple(each["values"])}) for each in document["problems"]]
        return BundlesReport(tuple(problems), document["tests"], document["missed"], document["counted"])
    except child.ChildError as error:
        if error.code == "child_stopped":
            raise GatewayError("check_stopped", "the check of a new commit was stopped") from error
        if error.code == "child_late":
            return BundlesReport((CommitProblem("check_timeout", "", f"compiling and testing {error.message}"),))
        return BundlesReport((CommitProblem("check_failed", "", f"the check {error.message}"),))
    except (TypeError, KeyError):
        return BundlesReport((CommitProblem("check_failed", "", "the check has no report"),))


@dataclass(frozen=True, slots=True)
class _Ran:
    """The tests that were run: how many of each bundle, and if that is wanted the lines that they cover."""

    tests: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, Coverage] | None = None


def problems_of(bundles: Mapping[str, Files], ran: _Ran | None = None) -> Iterator[CommitProblem]:
    """The report of `examine`, but made in this process. Notes in `ran` which tests were run."""
    manifests: dict[str, Manifest] = {}
    for name, files in bundles.items():
        try:
            names.check_name("bundle", name)
        except GatewayError as error:
            yield CommitProblem("bad_name", name, error.message, hint=error.hint)
            continue
        try:
            manifests[name] = policy_bundle.manifest(files[policy_bundle.MANIFEST], name)
        except GatewayError as error:
            yield CommitProblem(error.code, name, error.message, policy_bundle.MANIFEST, hint=error.hint)
    for (one, its), (other, others) in combinations(manifests.items(), 2):
        for root, rival in product(its.roots, others.roots):
            if policy_bundle.overlap(root, rival):
                detail = f"its root `{root}` overlaps `{rival}` of bundle {other}"
                yield CommitProblem(
                    "roots_overlap", one, detail, policy_bundle.MANIFEST, hint="give each bundle its own root"
                )
    for name, manifest in manifests.items():
        try:
            yield from _problems(name, bundles[name], manifest, ran or _Ran())
        except pe.PolicyError as error:
            yield from _compile_errors(name, error)


def _problems(name: str, files: Files, manifest: Manifest, ran: _Ran) -> Iterator[CommitProblem]:
    # 1. No bundle may define anything that belongs to another one.
    everything = from_files(files.items(), tests=True)
    trees = parse_modules(everything.modules)
    for file, tree in trees.items():
        package = tree.package
        path = "/".join(package.path)
        if not any(f"{path}/".startswith(f"{root}/") for root in manifest.roots):
            detail = f"package {path.replace('/', '.')} is in none of the roots"
            hint = f"rename the package, or list `{path}` in the `roots` of `{policy_bundle.MANIFEST}`"
            yield CommitProblem("roots_overlap", name, detail, *package.loc._replace(file=file), hint=hint)
            return
    # 2. Exactly what would be published compiles, and can answer with a decision.
    content = from_files(files.items(), tests=False)
    policies = from_modules({file: trees[file] for file in content.modules}, content.data, options=Options())
    wrong = list(misfits(policies, manifest.entrypoint))
    for each in wrong[:_MAX_LISTED]:
        outcome = "unsupported" if each.unsupported else "bad_decision"
        yield CommitProblem(outcome, name, each.message, *each.location, hint=each.hint)
    if len(wrong) > _MAX_LISTED:
        yield CommitProblem("bad_decision", name, f"{len(wrong) - _MAX_LISTED} more rules cannot be part of a decision")
    if wrong:
        return
    if problem := _probe(ready(policies, manifest, ""), name, policies):
        yield problem
        return
    # 3. No condition is one that no request can meet: it would be misspelt, and a denial that never denies.
    if not manifest.impossible and (found := list(_conditions(name, policies, content))):
        yield from found
        return
    # 4. Nothing in it is certain to fail when a request is judged.
    if failing := list(_doomed(name, policies, manifest, content)):
        yield from failing
        return
    # 5. Its tests pass, evaluated as strictly as requests are.
    suite = runner.prepare(everything.modules, everything.data, coverage=ran.coverage is not None)
    results = list(runner.run(suite, strict=True))
    if ran.coverage is not None and suite.coverage is not None:
        ran.coverage[name] = suite.coverage
    ran.tests[name] = sum(1 for result in results for _ in result.counts())  # as `policy test` counts cases
    yield from _failures(name, results)


def _doomed(name: str, policies: pe.Policies, manifest: Manifest, content: Bundle) -> Iterator[CommitProblem]:
    for said, hint, where in doomed.unreachable(policies, manifest.entrypoint, content.modules):
        yield CommitProblem("no_network", name, said, *where, hint=hint)
    if slow := doomed.too_slow(ready(policies, manifest, "")):
        hint = "`policy eval --profile` shows where the time goes"
        yield CommitProblem("too_slow", name, slow, hint=hint)


def _conditions(name: str, policies: pe.Policies, content: Bundle) -> Iterator[CommitProblem]:
    """Conditions that no request meets, or, if there are none, values of the input whose types fit nothing."""
    found = input_schema.impossible(policies)
    if found is None:
        return
    for each in found[:_MAX_LISTED]:
        yield CommitProblem("impossible", name, each.message, *each.location, hint=each.hint or _MEANT)
    if len(found) > _MAX_LISTED:
        yield CommitProblem(
            "impossible", name, f"{len(found) - _MAX_LISTED} more conditions are never met", hint=_MEANT
        )
    if found or any("schemas" in each["annotations"] for each in policies.annotations()):
        return  # a policy that declares schemas of its own names some that are not here
    try:
        pe.compile(content.modules, content.data, schemas={"schema": input_schema.for_types()})
    except pe.PolicyError as error:
        # The type checker takes members that may be absent for ones that are there: objects may be equal all the same.
        certain = [each for each in error.errors if each.message.count("object<") < 2]
        for one in certain[:_MAX_LISTED]:
            yield CommitProblem(
                "impossible", name, one.message, *(one.location or pe.Location()), hint=one.hint or _MEANT
            )


def _compile_errors(name: str, error: pe.PolicyError) -> Iterator[CommitProblem]:
    for each in error.errors:
        detail = f"{each.code}: {each.message}"
        yield CommitProblem("compile_failed", name, detail, *(each.location or pe.Location()), hint=each.hint)


def _failures(name: str, results: list[Result]) -> Iterator[CommitProblem]:
    from policy_engine.reports.findings import findings_in  # the reports need a terminal library

    bad = [each for each in results if each.outcome in (Outcome.FAILED, Outcome.ERROR)]
    # A machine that is busy is not the commit's fault, so that check is repeated; with one test that fails it is.
    late = all(each.error is not None and each.error.code == EVAL_CANCEL_ERROR for each in bad)
    outcome = "check_timeout" if late else "tests_failed"
    for result in bad[:_MAX_LISTED]:
        for found in findings_in(result):
            hint = _STRICT if found.code in _BUILTIN_ERRORS else found.hint
            yield CommitProblem(outcome, name, found.message, *found.location, hint=hint, values=found.values)
    if len(bad) > _MAX_LISTED:
        yield CommitProblem(outcome, name, f"{len(bad) - _MAX_LISTED} more of {len(results)} tests fail")


def _probe(bundle: CompiledBundle, name: str, policies: pe.Policies) -> CommitProblem | None:
    """Decide an empty input: that finds a member that no decision has, or a missing package, before any request."""
    try:
        value = bundle.decide({}, now_ns=0, seed=0, limits=_PROBE).value
    except pe.PolicyError:
        return None  # it may need an input; a request that it fails on is denied by itself
    if value is pe.UNDEFINED:
        packages = sorted({".".join(("data", *path)) for path in policies.packages().values()})
        hint = f"`entrypoint` can be {', '.join(packages[:_MAX_LISTED])}" if packages else "the bundle has no modules"
        detail = f"there is no package {bundle.entrypoint}"
        return CommitProblem("bad_entrypoint", name, detail, policy_bundle.MANIFEST, hint=hint)
    verdict = read(value, "guard")
    if verdict.code not in ("policy_bad_decision", "policy_unsupported"):
        return None
    hint = "this is the answer to an empty input; packages and data below the entrypoint are part of it"
    outcome = verdict.code.removeprefix("policy_")
    meant = _NAME.search(verdict.detail)
    places = [each.location for each in policies.members(bundle.entrypoint) if meant and each.path[:1] == (meant[0],)]
    where = places[0] if len(places) == 1 else pe.Location()
    return CommitProblem(outcome, name, f"{bundle.entrypoint}: {verdict.detail}", *where, hint=hint)


def _lines(coverage: Coverage) -> tuple[dict[str, list[int]], int]:
    """The lines of policies that tests do not cover, by file, and how many lines count. Tests do not cover tests."""
    found = [each for each in coverage.files() if policy_bundle.decides(each[0])]
    missed = {file: sorted(lines) for file, _, lines in found if lines}
    return missed, sum(len(covered) + len(lines) for _, covered, lines in found)


def _main(seconds: int, coverage: bool) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (child.MEMORY, child.MEMORY))
    content = json.loads(sys.stdin.buffer.read())
    bundles = {name: {path: base64.b64decode(text) for path, text in files.items()} for name, files in content.items()}
    ran = _Ran(coverage={} if coverage else None)
    found = [asdict(each) for each in problems_of(bundles, ran)]
    lines = {name: _lines(each) for name, each in (ran.coverage or {}).items()}
    document = {
        "problems": found,
        "tests": ran.tests,
        "missed": {name: missed for name, (missed, _) in lines.items()},
        "counted": {name: counted for name, (_, counted) in lines.items()},
    }
    sys.stdout.write(json.dumps(document))


if __name__ == "__main__":
    _main(int(sys.argv[1]), "coverage" in sys.argv[2:])
