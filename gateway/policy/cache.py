"""Compiled policies: loading published bundles, and which of them judge an agent.

A bundle is compiled and analysed here once per revision: its callable, the paths of the input it can read, the models
it judges. `rollout/` publishes and activates revisions, `authorization.py` asks them. A worker loads revisions beside
its event loop (`PolicyCache.follow`); a request finds them in memory or is refused with `policy_not_loaded`.
Specification: architecture.md, sections 4, 6 and 11.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

import policy_engine as pe
from gateway.errors import Denied, GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.policy.bundle import Manifest
from gateway.policy.decision import Verdict
from gateway.policy.input import CONTENT_PATHS, OF_CALLS, InputPath
from policy_engine.bundle import from_files

if TYPE_CHECKING:
    from gateway.identity.principals import BoundBundle, Effect
    from gateway.registry.port import ActiveSet, BundleRef

_MAX_PANELS: Final = 4096
_MAX_CONTENT: Final = 4096  # characters of paths that the log's entry lists one by one


@dataclass(frozen=True, slots=True)
class CompiledBundle:
    """One revision of a bundle, ready to judge. Immutable, so that any number of requests may share it."""

    digest: str
    entrypoint: str
    decide: Callable[..., pe.Decision]
    explain: Callable[..., pe.Explanation]
    input_paths: tuple[InputPath, ...]
    """Everything that a judgement can depend on; a path includes everything below it."""
    models: bool
    """It judges every model that a call names. Otherwise it may have looked at the first one only."""
    nondeterministic: bool
    denies_by_content: bool = True
    """Its `deny` can depend on content. If it cannot, what it denies without content it denies with any."""


@dataclass(frozen=True, slots=True)
class PanelMember:
    """A bundle on a panel, and how its verdict counts."""

    effect: Effect
    ref: BundleRef
    bundle: CompiledBundle


@dataclass(frozen=True, slots=True)
class Shadow:
    """A bundle that is asked to see what it would decide."""

    effect: Effect
    name: str
    ref: BundleRef | None = None
    bundle: CompiledBundle | None = None
    reads_content: bool = False
    reads_usage: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """The bundles that judge certain bindings under one activation.

    `summary` is how the log names the members: bundle, commit, digest and effect. `content` lists the paths of content
    that they can read, with dots, and `usage` says whether they can read `input.usage`. `refusal` is why there are no
    members.

    `shadows` are asked too, and their answers recorded and nothing else; those that are not in memory have no bundle.
    `content` and `usage` are about members alone.
    """

    activation_id: str
    commit: str
    members: tuple[PanelMember, ...] = ()
    summary: str = "[]"
    content: tuple[str, ...] = ()
    nondeterministic: bool = False
    refusal: Verdict | None = None
    shadows: tuple[Shadow, ...] = ()
    usage: bool = False

    @property
    def reads_content(self) -> bool:
        return bool(self.content) or any(each.reads_content for each in self.shadows)

    @property
    def reads_usage(self) -> bool:
        return self.usage or any(each.reads_usage for each in self.shadows)


def compile_bundle(files: Mapping[str, bytes], digest: str, name: str, compiled: Path | None = None) -> CompiledBundle:
    """Compile a bundle's files without its tests. Raises `GatewayError` or `policy_engine.PolicyError`.

    `compiled` is the directory of the engine's cache, if there is one; it must belong to this user alone.
    """
    manifest = policy_bundle.manifest(files.get(policy_bundle.MANIFEST, b""), name)
    content = from_files(files.items(), tests=False)
    return ready(pe.compile(content.modules, content.data, cache=compiled), manifest, digest)


def ready(policies: pe.Policies, manifest: Manifest, digest: str) -> CompiledBundle:
    """A bundle's policies, ready to judge."""
    facts = policies.facts(manifest.entrypoint)
    # Strict: a builtin's error ends the evaluation, and so denies. By default it would be undefined, as in OPA, and
    # `deny contains "…" if regex.match("^rm ", input.cmd)` would not deny when `input.cmd` is no string.
    entrypoint = policies.entrypoint(manifest.entrypoint, strict_builtin_errors=True)
    return CompiledBundle(
        digest=digest,
        entrypoint=manifest.entrypoint,
        decide=entrypoint.decide,
        explain=entrypoint.explain,
        input_paths=facts.input_paths,
        models=manifest.models,
        nondeterministic=bool(facts.nondeterministic),
        denies_by_content=bool(content_paths(policies.facts(f"{manifest.entrypoint}.deny").input_paths, OF_CALLS)),
    )


class PolicyCache:
    """The revisions that one worker has in memory.

    `get`, `panel` and `loaded` are for the event loop and never block; `load` and `follow` read files and compile, so
    they belong on another thread. A request keeps the revisions it holds, even if they are dropped here.
    """

    def __init__(self, bundles: Path, compiled: Path | None = None) -> None:
        self._directory = bundles
        self._compiled = compiled
        self._bundles: dict[str, CompiledBundle] = {}
        self._panels: dict[tuple[str, tuple[Any, ...], bool], Panel] = {}
        self._loading = threading.Lock()

    @property
    def loaded(self) -> frozenset[str]:
        """The digests of all revisions in memory."""
        return frozenset(self._bundles)

    def get(self, digest: str) -> CompiledBundle:
        """A revision in memory; `Denied` (`policy_not_loaded`) if it is not there."""
        bundle = self._bundles.get(digest)
        if bundle is None:
            raise Denied("policy_not_loaded", f"bundle {digest[:12]} is not in memory")
        return bundle

    def panel(self, bindings: Sequence[BoundBundle], active: ActiveSet, *, receiving: bool = False) -> Panel:
        """The bundles of these bindings under this activation. Raises `Denied`: `no_policy`, `policy_not_loaded`.

        They are those that judge what their subject calls or, if it is `receiving`, who may call it.

        # INVARIANT: every binding has its member. If a guard cannot be found the request is refused.
        """
        named = tuple([(each.bundle, each.effect, each.pinned, each.shadow) for each in bindings])
        key = active.activation_id, named, receiving
        panel = self._panels.get(key)
        if panel is None:
            panel = self._seat(of_direction(bindings, receiving=receiving), active)
            if len(self._panels) >= _MAX_PANELS:
                self._panels.clear()
            if all(each.bundle for each in panel.shadows):  # another may be in memory soon
                self._panels[key] = panel
        return panel

    def _seat(self, bindings: Sequence[BoundBundle], active: ActiveSet) -> Panel:
        counting = [each for each in bindings if not each.shadow]
        if all(each.effect == "guard" for each in counting):
            raise Denied("no_policy", "no bundle is bound with the effect grant, or receive for calls of others")
        members: list[PanelMember] = []
        for each in counting:
            ref = active.find(each.bundle, each.pinned)
            if ref is None:
                wanted = each.bundle if each.pinned is None else f"{each.bundle} at {each.pinned}"
                raise Denied("policy_not_loaded", f"binding {each.id} names {wanted}, which is in no activation")
            bundle = self.get(ref.digest)
            if bundle.entrypoint != ref.entrypoint:
                raise Denied("policy_not_loaded", f"bundle {ref.digest[:12]} has another entrypoint than was recorded")
            members.append(PanelMember(each.effect, ref, bundle))
        return Panel(
            activation_id=active.activation_id,
            commit=active.commit,
            members=tuple(members),
            summary=orjson.dumps([_summary(each) for each in members], option=orjson.OPT_SORT_KEYS).decode(),
            content=content_paths(path for member in members for path in member.bundle.input_paths),
            nondeterministic=any(member.bundle.nondeterministic for member in members),
            shadows=self.shadows(bindings, active),
            usage=any(_reads_usage(each.bundle) for each in members),
        )

    def shadows(self, bindings: Sequence[BoundBundle], active: ActiveSet) -> tuple[Shadow, ...]:
        """The bundles among these bindings that are asked and do not count."""
        found: list[Shadow] = []
        for each in bindings:
            if each.shadow:
                ref = active.find(each.bundle, each.pinned)
                bundle = self._bundles.get(ref.digest) if ref else None
                reads = bundle is not None and bool(content_paths(bundle.input_paths))
                found.append(Shadow(each.effect, each.bundle, ref, bundle, reads, _reads_usage(bundle)))
        return tuple(found)

    def load(self, digest: str) -> CompiledBundle:
        """Bring a published revision into memory. Raises `GatewayError` if it is missing, damaged or broken."""
        with self._loading:
            bundle = self._bundles.get(digest)
            if bundle is None:
                files = policy_bundle.read(self._directory / digest)
                try:
                    bundle = compile_bundle(files, digest, digest[:12], self._compiled)
                except pe.PolicyError as error:
                    message = f"bundle {digest[:12]} does not compile: {error}"
                    raise GatewayError("bundle_broken", message, subject=digest) from error
                self._bundles[digest] = bundle
        return bundle

    def hold(self, bundle: CompiledBundle) -> None:
        """Take a revision that was compiled elsewhere."""
        self._bundles[bundle.digest] = bundle

    def follow(self, wanted: Iterable[str]) -> dict[str, str]:
        """Load the wanted revisions and drop all others; returns for each that could not be loaded why."""
        failed: dict[str, str] = {}
        keep = set(wanted)
        for digest in keep - self.loaded:
            try:
                self.load(digest)
            except GatewayError as error:
                failed[digest] = error.message
        dropped = self.loaded - keep
        if dropped:
            self._bundles = {digest: bundle for digest, bundle in self._bundles.items() if digest not in dropped}
            self._panels = {}
        return failed


def of_direction(bindings: Sequence[BoundBundle], *, receiving: bool) -> list[BoundBundle]:
    """Those of these bindings that judge what their subject calls or, if it is `receiving`, who may call it."""
    return [each for each in bindings if (each.effect == "receive") is receiving]


def digests(active: ActiveSet) -> set[str]:
    """All revisions that requests can need under an activation."""
    return {ref.digest for refs in (active.bundles, active.pinned) for ref in refs.values()}


def _summary(member: PanelMember) -> dict[str, str]:
    ref = member.ref
    return {"name": ref.name, "digest": ref.digest, "commit": ref.commit, "effect": member.effect}


def _reads_usage(bundle: CompiledBundle | None) -> bool:
    """True if a judgement can depend on `input.usage`: a path below it, or one that contains it."""
    return bundle is not None and any(path[:1] in ((), ("usage",)) for path in bundle.input_paths)


def content_paths(paths: Iterable[InputPath], among: Iterable[InputPath] = CONTENT_PATHS) -> tuple[str, ...]:
    """The content that can be read through these paths: parts of it, or all of it if a path contains it.

    With `OF_CALLS` it is also what only a call has.
    """
    found: set[InputPath] = set()
    touched: set[InputPath] = set()
    for path in paths:
        for content in among:
            length = min(len(path), len(content))
            if path[:length] == content[:length]:  # one is or contains the other
                found.add(max(path, content, key=len))
                touched.add(content)
    shortest = {path for path in found if not any(path[:end] in found for end in range(len(path)))}
    if sum(map(len, map(str, shortest))) > _MAX_CONTENT:
        shortest = touched
    return tuple(sorted(".".join(path) for path in shortest))
