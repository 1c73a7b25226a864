"""The cache of compiled policies: the same answers without compiling, no new failures, no blind trust.

Every case of `language/` is also run from the cache. test_private_files.py tests which files are trusted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from policy_engine import cache as caching
from policy_engine import compiled, engine
from policy_engine.codegen import image
from policy_engine.syntax import parser

MODULES = {
    "authz.rego": """# METADATA
# title: Who may
package authz

default allow := false

allow if { input.role == data.roles[input.user]; not deny }

deny if { print("looking at", input.user); input.user in {"eve", "mallory"} }

size(x) := n if n := count(x) with input as 1

odd := {[1, 2]: {3, 1.50, true}, "n": size(input.xs)}

wrong := 1 if input.clash
wrong := 2 if input.clash

now := time.now_ns()
""",
    "many.rego": "package many\n"
    + "\n".join(f'level := {number} if {{ input.name == "n{number}"; count(input.xs) > 0 }}' for number in range(40))
    + '\nlevel := 40 if { input.name == "n40"; not input.off }',
}
DATA = {"roles": {"ann": "admin"}}
INPUT = {"role": "admin", "user": "ann", "xs": [1]}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., pe.Policies]:
    """Compiles with a cache of the test's own."""
    return lambda modules=MODULES, data=DATA, **options: pe.compile(modules, data, cache=tmp_path / "cache", **options)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever modules are compiled."""
    made: list[int] = []
    compile_program = engine.compile_program

    def counted(*args: Any, **options: Any) -> Any:
        made.append(1)
        return compile_program(*args, **options)

    monkeypatch.setattr(engine, "compile_program", counted)
    return made


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def answers(policies: pe.Policies) -> list[Any]:
    printed = policies.entrypoint("data.authz.deny").decide(INPUT).prints
    results = policies.prepare("x := data.authz.odd[k]; data.authz.allow").results(INPUT)
    return [
        policies.entrypoint("data.authz.allow")(INPUT),
        policies.entrypoint("data")(INPUT | {"name": "n7"})["many"],
        policies.entrypoint("data.many")(INPUT | {"name": "n39"}),
        policies.entrypoint("data.nothing")(INPUT),
        pe.dumps(policies.entrypoint("data.authz.odd")(INPUT)),
        policies.prepare("x := data.authz.odd[k]").bindings(INPUT),
        results,
        printed,
        policies.facts("data.authz"),
        policies.packages(),
    ]


def test_the_same_answers_with_nothing_parsed_or_compiled(
    load: Callable[..., pe.Policies], monkeypatch: pytest.MonkeyPatch
) -> None:
    want = answers(pe.compile(MODULES, DATA))
    assert answers(load()) == want
    for module, name in ((engine, "compile_program"), (compiled, "Unit"), (parser, "Reading")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("something was compiled"))
    assert answers(load()) == want


def test_errors_say_where(load: Callable[..., pe.Policies]) -> None:
    texts = set()
    for policies in (pe.compile(MODULES, DATA), load(), load()):
        with pytest.raises(pe.PolicyError) as caught:
            policies.entrypoint("data.authz.wrong")({"clash": True})
        texts.add(str(caught.value))
    (text,) = texts
    assert text.startswith("authz.rego:16: eval_conflict_error")


def test_missing_entries_are_compiled_on_demand(load: Callable[..., pe.Policies], compilations: list[int]) -> None:
    load().entrypoint("data.authz.allow")
    assert len(compilations) == 1
    policies = load()
    allow = policies.entrypoint("data.authz.allow")
    assert allow(INPUT) is True
    assert len(compilations) == 1
    assert allow.decide(INPUT, trace=True).why == ("data.authz.allow at authz.rego:7",)
    assert [item["annotations"]["title"] for item in policies.annotations()] == ["Who may"]
    assert "def g" in policies.python_source()
    assert policies.entrypoint("data.many.level")(INPUT | {"name": "n3"}) == 3
    assert len(compilations) == 2
    assert load().entrypoint("data.many.level")(INPUT | {"name": "n3"}) == 3
    assert len(compilations) == 2


def test_data_is_no_part_of_it(load: Callable[..., pe.Policies], compilations: list[int]) -> None:
    assert load().entrypoint("data.authz.allow")(INPUT) is True
    other = load(data={"roles": {}})
    assert other.entrypoint("data.authz.allow")(INPUT) is False
    assert other.with_data(DATA).entrypoint("data.authz.allow")(INPUT) is True
    assert len(compilations) == 1
    for refused in (lambda: load(data={"authz": {"allow": 1}}), lambda: other.with_data({"authz": 1})):
        with pytest.raises(pe.PolicyError, match="conflicting rule for data path authz/allow found") as caught:
            refused()
        assert caught.value.location is not None
        assert caught.value.location.row == 5
    assert len(compilations) == 1


def test_policies_with_errors_are_refused_every_time(load: Callable[..., pe.Policies], tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(pe.PolicyError, match="rego_parse_error"):
            load({"a.rego": "package a\np := {"})
        with pytest.raises(pe.PolicyError, match="unsafe"):
            load({"a.rego": "package a\np := x"})
        with pytest.raises(pe.PolicyError, match="unsafe"):
            load().prepare("x > 1")
    assert len(entries(tmp_path)) == 1  # the outline of those without


@pytest.mark.parametrize(
    "change",
    [
        lambda load, modules: load({**modules, "authz.rego": modules["authz.rego"] + "\n"}),
        lambda load, modules: load({"other.rego": modules["authz.rego"], "many.rego": modules["many.rego"]}),
        lambda load, modules: load(dict(reversed(modules.items()))),
        lambda load, modules: load(modules, capabilities=set(pe.engine.TABLE)),  # type: ignore[attr-defined]
        lambda load, modules: load(modules, functions={"f": (1, abs)}),
        lambda load, modules: load(modules, schemas={"schema": {"type": "object"}}),
    ],
    ids=["text", "name", "order", "capabilities", "functions", "schemas"],
)
def test_each_option_that_changes_code_has_its_own_entries(
    load: Callable[..., pe.Policies], compilations: list[int], change: Callable[..., pe.Policies]
) -> None:
    load()
    change(load, MODULES)
    assert len(compilations) == 2
    load()
    assert len(compilations) == 2


def test_strict_mode_is_no_excuse(load: Callable[..., pe.Policies]) -> None:
    module = {"a.rego": "package a\nimport data.b\np := 1"}
    load(module)
    with pytest.raises(pe.PolicyError, match="unused"):
        load(module, strict=True)


def test_two_texts_are_not_one_long_one() -> None:
    keys = {
        caching.key(modules, strict=False, schemas=None, capabilities=None, functions={})
        for modules in ({"ab": "c"}, {"a": "bc"}, {"a": "b", "c": ""}, {"a": "b", "": "c"}, {})
    }
    assert len(keys) == 5


def test_another_engine_or_python_has_its_own(
    load: Callable[..., pe.Policies], compilations: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    monkeypatch.setattr(caching, "_engine", lambda: b"another one")
    load()
    assert len(compilations) == 2
    monkeypatch.setattr(caching, "_engine", lambda: None)  # unknown: no cache
    load()
    load()
    assert len(compilations) == 4


def test_a_changed_file_of_the_engine_is_another_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its content alone: an unpacked archive can have any size and time, and equal content is the same engine."""
    monkeypatch.setattr(caching, "__file__", str(tmp_path / "cache.py"))
    file = tmp_path / "inner" / "file.py"
    file.parent.mkdir()
    found = []
    for content, time in (("a = 1", 7), ("a = 2", 7), ("a = 1", 8), ("a = 11", 7)):
        file.write_text(content)
        os.utime(file, (time, time))
        caching._engine.cache_clear()
        found.append(caching._engine())
    file.rename(tmp_path / "file.py")
    caching._engine.cache_clear()
    found.append(caching._engine())
    caching._engine.cache_clear()
    assert None not in found
    assert found[0] == found[2]
    assert len(set(found)) == 4


def test_a_hosts_functions_are_those_of_this_time(load: Callable[..., pe.Policies], compilations: list[int]) -> None:
    module = {"a.rego": "package a\np := org.team(input)\nq := x if x := r with org.team as 5\nr := org.team(1)"}
    for team in ("red", "blue"):
        policies = load(module, functions={"org.team": (1, lambda _, team=team: team)})
        assert policies.entrypoint("data.a")(0) == {"p": team, "q": 5, "r": team}
    assert len(compilations) == 1


def test_prints_and_limits_are_those_of_this_time(load: Callable[..., pe.Policies]) -> None:
    for _ in range(2):
        said: list[str] = []
        assert load(print=said.append).entrypoint("data.authz.allow")(INPUT) is True
        assert said == ["looking at ann"]
        with pytest.raises(pe.PolicyError, match="output budget"):
            load(limits=pe.Limits(output_bytes=1)).entrypoint("data.authz.odd")(INPUT)


@pytest.mark.parametrize(
    "damage",
    [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: c[:-9] + bytes(9), lambda c: b"\xe3" * 5000],
    ids=["empty", "cut", "changed", "garbage"],
)
def test_damaged_entries_are_made_anew(
    load: Callable[..., pe.Policies], tmp_path: Path, compilations: list[int], damage: Callable[[bytes], bytes]
) -> None:
    want = answers(load())
    assert len(entries(tmp_path)) == 11
    for path in entries(tmp_path):
        path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        assert answers(load()) == want
        assert len(compilations) == 2


def test_entries_that_others_can_write_are_not_believed(
    load: Callable[..., pe.Policies], tmp_path: Path, compilations: list[int]
) -> None:
    load().entrypoint("data.authz.allow")
    (tmp_path / "cache").chmod(0o770)
    assert load().entrypoint("data.authz.allow")(INPUT) is True
    assert len(compilations) == 2


def test_an_entry_is_for_one_question(
    load: Callable[..., pe.Policies], tmp_path: Path, compilations: list[int]
) -> None:
    load()
    (outline,) = entries(tmp_path)
    load().entrypoint("data.authz.allow")
    (document,) = [path for path in entries(tmp_path) if path != outline]
    document.write_bytes(outline.read_bytes())
    assert load().entrypoint("data.authz.allow")(INPUT) is True
    assert len(compilations) == 3


def test_code_that_cannot_be_kept_is_used_all_the_same(
    load: Callable[..., pe.Policies], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(unit: object, entry: object) -> None:
        raise image.UnstorableError("no")

    monkeypatch.setattr(image, "snapshot", refuse)
    for _ in range(2):
        assert load().entrypoint("data.authz.allow")(INPUT) is True
    assert len(entries(tmp_path)) == 1


def test_the_directory_does_not_grow_without_end(
    load: Callable[..., pe.Policies], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "MOST", 10_000)
    for number in range(30):
        assert load({"a.rego": f"package a\np := {number}"}).entrypoint("data.a.p")() == number
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 10_000
    assert entries(tmp_path)


def test_many_threads_fill_and_read_one_directory(load: Callable[..., pe.Policies], tmp_path: Path) -> None:
    want = answers(pe.compile(MODULES, DATA))
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(5):
            got = answers(load())
            if got != want:
                wrong.append(got)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(entries(tmp_path)) == 11


def test_many_threads_call_what_is_not_compiled_yet(load: Callable[..., pe.Policies]) -> None:
    """The rules that an index chooses from, alike or not, are compiled when somebody first chooses them."""
    load().entrypoint("data.many.level")
    level = load().entrypoint("data.many.level")
    start = threading.Barrier(8)
    found: list[Any] = []

    def work() -> None:
        start.wait()
        found.append([level(INPUT | {"name": f"n{number}"}) for number in range(41)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(41))] * 8


def test_everything_in_it_is_for_this_user_only(load: Callable[..., pe.Policies], tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        answers(load())
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in entries(tmp_path)} == {0o600}
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
