"""`gateway policies`: the check that every commit goes through, at the author's desk and in CI, and new bundles.

What became of commits is in `policy_state.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output, policy_commits, policy_impact, policy_state
from gateway.cli.asking import App
from gateway.cli.options import DATA, Data
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.policy.rollout.candidates import Candidate
    from gateway.policy.rollout.check import CommitProblem
    from gateway.settings import Settings
    from policy_engine.reports import Finding

app = App(
    help="Check policies before the gateway does, see which are in force, and begin new ones.", no_args_is_help=True
)
app.command()(policy_state.status)
app.command()(policy_state.history)
app.command()(policy_commits.commits)
app.command()(policy_commits.show)
app.command()(policy_commits.diff)
app.command()(policy_commits.propose)
app.command()(policy_impact.impact)
app.command("verify-impact")(policy_impact.verify)


class Format(StrEnum):
    """The formats of `policy_engine.reports`, which takes too long to import for `gateway --help`."""

    PRETTY = "pretty"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    SARIF = "sarif"
    TAP = "tap"


@app.command()
def check(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            show_default=False,
            help="The directory that holds the bundles: by default this one, or with --data that of the gateway.",
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option("--commit", metavar="REF", help="Check a commit, branch or tag instead of the files as they are."),
    ] = None,
    staged: Annotated[bool, typer.Option("--staged", help="Check what the next commit would hold.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", "--data-dir", metavar="DIR", help="Check too that no bundle is missing that this gateway needs."
        ),
    ] = None,
    output_format: Annotated[
        Format,
        typer.Option("--format", "-f", help="pretty is for people, json for programs, the others for CI systems."),
    ] = Format.PRETTY,
) -> None:
    """Check bundles exactly as a gateway checks a commit before it puts it into force.

    Looks at manifests, roots and names, compiles, finds rules that no decision can contain, and runs all tests as
    strictly as requests are judged. Needs no gateway and no network. Exits with 1 if a gateway would refuse the
    bundles, with 2 if there is nothing to check.
    """
    from gateway.policy.rollout import candidates
    from gateway.policy.rollout.check import examine
    from gateway.settings import load_settings
    from policy_engine import reports
    from policy_engine.cli.diagnostics import standard_output

    if commit is not None and staged:
        raise typer.BadParameter("--commit and --staged exclude each other")
    try:
        settings = None if data is None else load_settings({"data": data})
        if settings is not None:
            settings.data.check()
        candidate = candidates.find(directory, settings, commit, staged=staged)
    except GatewayError as error:
        output.complain(error.message, error.hint)
        raise typer.Exit(2) from error
    problems: list[CommitProblem] = []
    tests: Mapping[str, int] = {}
    try:
        bundles = candidate.bundles()
    except GatewayError as error:
        bundles = {}
        problems = [_problem(error)]
    if not bundles and not problems:
        where = f"commit {commit}" if commit else "the next commit" if staged else f"`{candidate.directory}`"
        hint = "name the directory that holds the bundles: directories with a `.manifest`"
        output.complain(f"there is no bundle in {where}", hint)
        raise typer.Exit(2)
    if bundles:
        found = examine(bundles)
        problems = [*_needs(settings, candidate, list(bundles)), *found.problems]
        tests = found.tests
    findings = [_finding(candidate.directory, each) for each in problems]
    sources = {
        _path(candidate.directory, name, file): content.decode("utf-8", "replace")
        for name, files in bundles.items()
        for file, content in files.items()
    }
    reports.report(reports.Format(output_format), standard_output(), findings=findings, sources=sources)
    if output_format is Format.PRETTY:
        for name in candidate.passed_over:
            where = f"`{output.printable(name)}` has no `.manifest`" if name else "there are modules in no directory"
            output.warn(f"{where}, so no bundle has its modules", "move them into the bundle that uses them")
        _conclude(sorted(bundles), candidate.touched(bundles), tests, len(problems))
    if problems:
        raise typer.Exit(1)


def _problem(error: GatewayError) -> CommitProblem:
    from gateway.policy.rollout.check import CommitProblem

    return CommitProblem(error.code, "", error.message, hint=error.hint)


def _needs(settings: Settings | None, candidate: Candidate, names: list[str]) -> list[CommitProblem]:
    """What a gateway asks of a commit beyond what is in it: a signature, and the bundles that its bindings name."""
    if settings is None:
        return []
    from gateway.policy.rollout.sync import missing_bundles, signature_problem
    from gateway.processes import local

    found: list[CommitProblem] = []
    if settings.policies_signers is not None and candidate.source is not None:
        problem = signature_problem(candidate.source, candidate.commit, settings.policies_signers)
        found += [problem] if problem else []
    with local.reading(settings.data.path) as registry:
        return found + missing_bundles(registry, names)


def _path(directory: Path, bundle: str, file: str) -> str:
    """Where a file of a bundle is, as the user can open it."""
    return str(directory / bundle / file)


def _finding(directory: Path, problem: CommitProblem) -> Finding:
    from policy_engine.reports import Finding

    where = _path(directory, problem.bundle, problem.file) if problem.file else ""
    in_bundle = f"bundle {problem.bundle}: " if problem.bundle and not problem.file else ""
    return Finding(
        problem.outcome,
        output.printable(in_bundle + problem.detail),
        where,
        problem.row,
        problem.col,
        problem.end_row,
        problem.end_col,
        hint=output.printable(problem.hint),
        values=problem.values,
    )


def _conclude(names: Sequence[str], touched: Sequence[str], tests: Mapping[str, int], problems: int) -> None:
    for name in touched:
        if tests.get(name) == 0:
            output.warn(f"bundle {name} has no tests", "a commit without tests is put into force all the same")
    if problems:
        typer.echo(f"{problems} problem{'s' if problems > 1 else ''}: a gateway would refuse these policies")
    else:
        total = sum(tests.values())
        typer.echo(f"{', '.join(names)}: fit to be put into force ({total} test{'' if total == 1 else 's'} passed)")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle's name, which bindings name.")],
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            show_default=False,
            help="Where its directory is made: by default in the gateway's policies repository.",
        ),
    ] = None,
    data: Data = DATA,
) -> None:
    """Write a new bundle: a manifest, a commented policy, values and tests, all under its name."""
    from gateway.policy.rollout.candidates import roots_in
    from gateway.processes import bundle_template
    from gateway.settings import load_settings

    if directory is None:
        settings = load_settings({"data": data})
        settings.data.check()
        directory = settings.repository / settings.policies_path.strip("/")
    files = bundle_template.new_bundle(name, roots_in(directory))
    target = directory / name
    bundle_template.write(target, files)
    typer.echo(f"wrote bundle {name} into {target}: edit authz.rego, data.yaml and authz_test.rego")
    typer.echo("next:")
    typer.echo(f"  gateway policies check {shlex.quote(str(directory))}")
    git = f"git -C {shlex.quote(str(directory))}"
    typer.echo(f'  {git} add {shlex.quote(name)} && {git} commit -m "Add bundle {name}"')
    typer.echo(f"  gateway bind AGENT {name}")
