"""The commits of the policies repository, their check, and proposals of changes (rolling-out.md).

Of the whole gateway, as policies are. Nothing here brings anything into force: that is done by who merges a branch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from gateway.control.operation import Answer, Ask, Body, Operation, Query
from gateway.errors import GatewayError, UnknownError
from gateway.policy import bundle as policy_bundle
from gateway.policy.rollout import check, state, sync
from gateway.policy.rollout.check import BundlesReport, CommitProblem
from gateway.policy.rollout.proposals import Proposals
from gateway.policy.rollout.revisions import CommitRecord, FileDifference, Proposal, Revisions
from gateway.registry import queries
from gateway.registry.documents import plain
from gateway.registry.policies import proposals

_ATTEMPTS: Final = 500
_AROUND: Final = 4
_MAX_TEXTS: Final = 256 * 1024  # bytes of a bundle's files together
_MAX_LISTED: Final = 100  # branches of proposals


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCommit(CommitRecord):
    """A commit and what became of it: `outcome` is `ok`, why it was refused, or empty if nobody has looked at it."""

    in_force: bool
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitList:
    """The newest commits of the branch that is followed, and the branches with proposals."""

    items: list[JudgedCommit]
    proposals: list[Proposal]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedBundle:
    """A bundle of a commit; `digest` is of what can matter to a decision."""

    name: str
    digest: str
    files: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCommit(JudgedCommit):
    """A commit with its bundles. `problem` says why they cannot be read, if they cannot."""

    bundles: list[CommittedBundle]
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedText:
    """A file of a commit; `text` is null if it is not UTF-8."""

    commit: str
    file: str
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedTexts:
    """The files of a bundle of a commit, as `CommittedText`; a text is null too if they are too long together."""

    commit: str
    bundle: str
    files: list[CommittedText]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitDifferences:
    """The files that two commits have differently; `since` is null if all are new."""

    since: str | None
    commit: str
    files: list[FileDifference]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedProblem:
    """A finding of the check, with the lines around its place; `first` is the number of the first of them."""

    outcome: str
    bundle: str
    file: str
    line: int
    column: int
    message: str
    hint: str
    values: list[str]
    first: int
    lines: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBundle:
    """The tests of a bundle; `covered` is how much of it they cover, in percent, and `missed` the lines they do not."""

    name: str
    tests: int | None
    covered: float | None
    missed: dict[str, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitCheck:
    """The check that a commit goes through before it comes into force: no problems, and it may."""

    commit: str
    problems: list[PlacedProblem]
    bundles: list[CheckedBundle]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeProposal:
    """A proposal; `commit` is null if there are problems, or if it was only checked: then nothing was made."""

    branch: str
    base: str
    commit: str | None
    problems: list[PlacedProblem]
    bundles: list[CheckedBundle]
    differences: list[FileDifference]


class CommitsQuery(Query):
    """How far back."""

    limit: int = Field(50, ge=1, le=500, description="The most commits of the answer.")


class SinceQuery(Query):
    """With what it is compared."""

    since: str | None = Field(None, max_length=200, description="Another commit; by default the one before.")


class NewProposal(Body):
    """A change of files of bundles."""

    branch: str = Field("", description="Its name; `proposals/` is put before it. With `check_only` it may be empty.")
    files: dict[str, str | None] = Field(
        description="The new text of each file, such as `support/authz.rego`, or null."
    )
    base: str | None = Field(
        None, max_length=200, description="The commit that was changed; by default the branch, or what is followed."
    )
    message: str = Field("", max_length=2000, description="Of the commit.")
    check_only: bool = Field(False, description="Say what the check finds, and make nothing.")


@Operation("GET /policies/commits", about="gateway")
def listed(ask: Ask[None, CommitsQuery]) -> Answer[CommitList]:
    """List the newest commits of the branch that is followed, with what became of them, and proposals."""
    source = Revisions.of(ask.context.settings)
    fates = _Fates(ask)
    items = [fates.judged(each) for each in source.newest(ask.query.limit)]
    return Answer(body=plain(CommitList(items=items, proposals=source.proposals(_MAX_LISTED))))


@Operation("GET /policies/commits/{commit}", about="gateway")
def one(ask: Ask) -> Answer[ShownCommit]:
    """A commit, its bundles with their files, and what became of it."""
    source = Revisions.of(ask.context.settings)
    record = source.record(source.resolve(ask.path["commit"]))
    found, problem = [], ""
    try:
        for name, files in sorted(source.bundles(record.commit).items()):
            found.append(CommittedBundle(name=name, digest=policy_bundle.digest(files), files=sorted(files)))
    except GatewayError as error:
        problem = error.message
    judged = _Fates(ask).judged(record)
    fields = {name: getattr(judged, name) for name in JudgedCommit.__dataclass_fields__}
    return Answer(body=plain(ShownCommit(**fields, bundles=found, problem=problem)))


@Operation("GET /policies/commits/{commit}/files/{file}", about="gateway")
def text(ask: Ask) -> Answer[CommittedText]:
    """A file of a commit, by its path below the policies' directory."""
    source = Revisions.of(ask.context.settings)
    commit, file = source.resolve(ask.path["commit"]), ask.path["file"]
    return Answer(body=CommittedText(commit=commit, file=file, text=_text(source.read(commit, file))))


@Operation("GET /policies/commits/{commit}/bundles/{bundle}", about="gateway")
def texts(ask: Ask) -> Answer[CommittedTexts]:
    """The files of a bundle of a commit with their texts."""
    source = Revisions.of(ask.context.settings)
    commit, bundle = source.resolve(ask.path["commit"]), ask.path["bundle"]
    bundles = source.bundles(commit)
    if bundle not in bundles:
        raise UnknownError("bundle", f"commit {commit[:12]} has no bundle `{bundle[:100]}`", subject=bundle[:100])
    left, found = _MAX_TEXTS, []
    for path, content in sorted(bundles[bundle].items()):
        fits = len(content) <= left
        left -= len(content) if fits else 0
        text = _text(content) if fits else None
        found.append(CommittedText(commit=commit, file=f"{bundle}/{path}", text=text))
    return Answer(body=CommittedTexts(commit=commit, bundle=bundle, files=found))


@Operation("GET /policies/commits/{commit}/changes", about="gateway", heavy=True)
def changes(ask: Ask[None, SinceQuery]) -> Answer[CommitDifferences]:
    """Compare a commit with the one before, or with another one, file by file."""
    source = Revisions.of(ask.context.settings)
    commit = source.resolve(ask.path["commit"])
    if ask.query.since:
        since: str | None = source.resolve(ask.query.since)
    else:
        since = next(iter(source.record(commit).parents), None)
    return Answer(body=CommitDifferences(since=since, commit=commit, files=source.differences(since, commit)))


@Operation("GET /policies/commits/{commit}/check", about="gateway", heavy=True)
def checked(ask: Ask) -> Answer[CommitCheck]:
    """Check a commit as before it comes into force: compile it, run its tests, and see what they cover."""
    settings = ask.context.settings
    source = Revisions.of(settings)
    commit = source.resolve(ask.path["commit"])
    problems: list[CommitProblem] = []
    if settings.policies_signers is not None and (
        unsigned := sync.signature_problem(source, commit, settings.policies_signers)
    ):
        problems.append(unsigned)
    try:
        bundles = source.bundles(commit)
    except GatewayError as error:
        bundles, problems = {}, [*problems, CommitProblem(error.code, "", error.message, hint=error.hint)]
    found = _examined(ask, bundles) if bundles or not problems else BundlesReport(())
    every = [*problems, *found.problems]
    return Answer(body=CommitCheck(commit=commit, problems=_placed(every, bundles), bundles=_tested(bundles, found)))


@Operation("POST /policies/proposals", about="gateway", heavy=True, tool="propose_policies")
def propose(ask: Ask[NewProposal]) -> Answer[MadeProposal]:
    """Check a change of policies and, if nothing is found, commit it on a branch of its own.

    Nothing comes into force by that.
    """
    given, context = ask.body, ask.context
    source = Proposals.of(context.settings)
    try:
        contents = {file: None if each is None else each.encode() for file, each in given.files.items()}
    except UnicodeEncodeError as error:
        raise GatewayError("invalid_file", "a text has half of a character", hint="send UTF-8") from error
    draft = source.draft(given.branch, given.base, contents)
    if not given.check_only:
        source.check_writable(draft)
    found = _examined(ask, draft.bundles)
    commit = None
    if not found.problems and not given.check_only:
        commit = made = source.write(draft, author=ask.caller.operator.name, message=given.message)
        try:
            proposals.propose(
                ask.change(),
                actor=ask.actor,
                branch=draft.branch,
                commit=made,
                base=draft.base,
                files=sorted(draft.contents),
                message=given.message,
                make=lambda: source.publish(draft, made),
            )
        except BaseException:
            source.withdraw(draft, made)
            raise
    return Answer(
        body=MadeProposal(
            branch=draft.branch,
            base=draft.base,
            commit=commit,
            problems=_placed(found.problems, draft.bundles),
            bundles=_tested(draft.bundles, found),
            differences=list(draft.differences),
        )
    )


def _text(content: bytes) -> str | None:
    """The text of a file, if it is one."""
    try:
        found = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in found else found


class _Fates:
    """What became of commits, as the registry and the log have it."""

    def __init__(self, ask: Ask) -> None:
        active = queries.activation(ask.registry)
        self._active = "" if active is None else active.commit
        with ask.context.log() as log:
            self._newest = {each.commit: each for each in reversed(state.attempted(log, _ATTEMPTS))}

    def judged(self, record: CommitRecord) -> JudgedCommit:
        attempt = self._newest.get(record.commit)
        return JudgedCommit(
            **{name: getattr(record, name) for name in CommitRecord.__dataclass_fields__},
            in_force=record.commit == self._active,
            outcome="" if attempt is None else attempt.outcome,
            detail="" if attempt is None else attempt.detail,
        )


def _examined(ask: Ask, bundles: Mapping[str, policy_bundle.Files]) -> BundlesReport:
    """The check of the rollout, and what this gateway needs beside it."""
    if not bundles:
        why = "the commit holds no bundle: no directory with a `.manifest`"
        return BundlesReport((CommitProblem("no_bundles", "", why),))
    found = check.examine(bundles, coverage=True)
    missing = sync.missing_bundles(ask.registry, list(bundles))
    return BundlesReport((*missing, *found.problems), found.tests, found.missed, found.counted)


def _placed(found: Sequence[CommitProblem], bundles: Mapping[str, policy_bundle.Files]) -> list[PlacedProblem]:
    return [_place(each, bundles.get(each.bundle, {}).get(each.file, b"")) for each in found]


def _place(problem: CommitProblem, content: bytes) -> PlacedProblem:
    lines = content.decode("utf-8", "replace").split("\n")
    first = max(1, problem.row - _AROUND)
    return PlacedProblem(
        outcome=problem.outcome,
        bundle=problem.bundle,
        file=f"{problem.bundle}/{problem.file}" if problem.file else "",
        line=problem.row,
        column=problem.col,
        message=problem.detail,
        hint=problem.hint,
        values=list(problem.values),
        first=first,
        lines=[each[:1000] for each in lines[first - 1 : problem.row + _AROUND]] if problem.row and content else [],
    )


def _tested(bundles: Mapping[str, policy_bundle.Files], found: BundlesReport) -> list[CheckedBundle]:
    shown = []
    for name in sorted(bundles):
        missed = {f"{name}/{file}": list(lines) for file, lines in found.missed.get(name, {}).items()}
        counted = found.counted.get(name)
        covered = None if not counted else 100 * (1 - sum(map(len, missed.values())) / counted)
        shown.append(
            CheckedBundle(name=name, tests=found.tests.get(name), covered=covered and round(covered, 1), missed=missed)
        )
    return shown
