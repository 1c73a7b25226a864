"""The check of a commit's bundles: its findings, and a child that cannot take anything along."""

from __future__ import annotations

import functools
import json
import re
import threading
from pathlib import Path

import pytest

from gateway.demo.demonstration import demo_files
from gateway.errors import GatewayError
from gateway.policy.bundle import Files
from gateway.policy.rollout import child, doomed
from gateway.policy.rollout.check import check, problems_of
from gateway.policy.rollout.source import collect
from gateway.processes.creation import starter_files
from policy_engine.testing import runner

ROOT = Path(__file__).parents[4]


def bundle(name: str = "b", roots: tuple[str, ...] = (), **files: str) -> Files:
    """A bundle whose module `authz` is as given and whose package is `<name>.authz`."""
    manifest = {"roots": list(roots) or [name], "metadata": {"gateway": {"entrypoint": f"data.{name}.authz"}}}
    content = {".manifest": json.dumps(manifest)}
    content |= {f"{file}.rego": f"package {name}.{file}\n\n{rules}\n" for file, rules in files.items()}
    return {path: text.encode() for path, text in content.items()}


def outcomes(**bundles: Files) -> list[tuple[str, str]]:
    return [(problem.bundle, problem.outcome) for problem in problems_of(bundles)]


def directories(files: dict[str, bytes]) -> dict[str, Files]:
    found: dict[str, Files] = {}
    for path, content in files.items():
        name, _, inner = path.partition("/")
        if inner:
            found.setdefault(name, {})[inner] = content
    return found


def test_a_good_bundle() -> None:
    files = bundle(authz="allow := true", authz_test="import data.b.authz\n\ntest_it if authz.allow")
    assert check({"b": files}) == []


def test_the_bundles_of_this_repository() -> None:
    paths = [path for path in (ROOT / "policies").rglob("*") if path.is_file()]
    files = {path.relative_to(ROOT / "policies").as_posix(): path.read_bytes() for path in paths}
    assert set(directories(files)) == {"support", "analytics", "baseline", "coding", "tools"}
    assert check(directories(files)) == []


def test_the_packaged_bundles() -> None:
    assert check(directories(starter_files())) == []
    assert check(directories(demo_files())) == []


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        ("allow := true if {", "compile_failed"),
        ("allow if input.x == y", "compile_failed"),
        ("allow if no.such.builtin(1)", "compile_failed"),
        ("allow := 1", "bad_decision"),
        ("allow := true\n\nobligation := {}", "bad_decision"),
        ("allow := true\n\nsub.x := 1", "bad_decision"),
        ('allow := true\n\nlimits := {"tokens_per_week": 1}', "bad_decision"),
        ('allow := true\n\nrequire_approval := {{"reason": "x", "scope": "session"}}', "unsupported"),
    ],
)
def test_what_could_never_decide(rules: str, outcome: str) -> None:
    assert outcomes(b=bundle(authz=rules)) == [("b", outcome)]


def test_an_input_may_be_needed() -> None:
    """Nothing can be said beforehand of a policy that has no answer for an empty input."""
    assert outcomes(b=bundle(authz="allow if input.action")) == []
    assert outcomes(b=bundle(authz='allow if count(object.get(input, "on_behalf_of", 5)) > 0')) == []


def test_an_entrypoint_that_is_not_there() -> None:
    assert outcomes(b=bundle(other="allow := true")) == [("b", "bad_entrypoint")]


def test_base_data_below_the_rules() -> None:
    files = bundle(authz="allow := true") | {"data.json": b'{"b": {"authz": {"allow": false}}}'}
    assert outcomes(b=files) == [("b", "compile_failed")]


def test_data_of_another_bundle() -> None:
    files = bundle(authz="allow := true") | {"data.json": b'{"c": {}}'}
    assert outcomes(b=files) == [("b", "compile_failed")]


def test_a_package_of_another_bundle() -> None:
    files = bundle(authz="allow := true") | {"more.rego": b"package c.authz\n\nallow := true\n"}
    assert outcomes(b=files) == [("b", "roots_overlap")]
    files = bundle(authz="allow := true") | {"more_test.rego": b"package bb\n\ntest_x := true\n"}
    assert outcomes(b=files) == [("b", "roots_overlap")]


def test_two_bundles_with_overlapping_roots() -> None:
    one = bundle("b", authz="allow := true")
    assert outcomes(b=one, c=bundle("c", authz="allow := true")) == []
    assert outcomes(b=one, c=bundle("c", ("c", "b/inner"), authz="allow := true")) == [("b", "roots_overlap")]
    assert outcomes(b=one, c=one) == [("b", "roots_overlap")]


def test_a_bad_manifest() -> None:
    assert outcomes(b=bundle(authz="allow := true") | {".manifest": b"{}"}) == [("b", "bad_manifest")]


@pytest.mark.parametrize("name", ["my bundle", "bündel", "agt_x", "-x", "b" * 64])
def test_a_name_that_no_binding_could_say(name: str) -> None:
    [problem] = problems_of({name: bundle(authz="allow := true")})
    assert (problem.outcome, problem.bundle) == ("bad_name", name)


def test_tests_that_fail() -> None:
    tests = "import data.b.authz\n\ntest_good if authz.allow\n\ntest_bad if not authz.allow\n\ntodo_test_later := false"
    [problem] = problems_of({"b": bundle(authz="allow := true", authz_test=tests)})
    assert (problem.outcome, problem.file, problem.row) == ("tests_failed", "authz_test.rego", 7)
    assert str(problem) == "bundle b: authz_test.rego:7: data.b.authz_test.test_bad: `not authz.allow` does not hold"


def test_tests_are_judged_as_strictly_as_requests() -> None:
    """In OPA's default mode this test passes, and the policy it tests would let the request through."""
    tests = (
        "import data.b.authz\n\n"
        'test_no_reason if count(authz.deny) == 0 with input as {"request": {"path": ["rm -rf"]}}'
    )
    files = bundle(
        authz='allow := true\n\ndeny contains "rm" if regex.match("^rm ", input.request.path)', authz_test=tests
    )
    assert outcomes(b=files) == [("b", "tests_failed")]


def test_tests_that_only_took_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not the commit's fault: such a check is repeated. With a test that fails it is."""
    monkeypatch.setattr(runner, "run", functools.partial(runner.run, timeout=0.05))
    slow = "test_slow if count([1 | some x in numbers.range(1, 9999); some y in numbers.range(1, 9999)]) > 0"
    files = bundle(authz="allow := true", authz_test=slow)
    assert outcomes(b=files) == [("b", "check_timeout")]
    files = bundle(authz="allow := true", authz_test=f"{slow}\n\ntest_wrong if 1 == 2")
    assert set(outcomes(b=files)) == {("b", "tests_failed")}


def test_tests_do_not_help_what_is_published() -> None:
    """A module that only compiles together with its tests does not compile."""
    files = bundle(authz="import data.b.authz_test\n\nallow if f(1)", authz_test="x := 1")
    assert outcomes(b=files) == [("b", "compile_failed")]


def test_one_bad_bundle_does_not_hide_another() -> None:
    found = outcomes(b=bundle("b", authz="allow := "), c=bundle("c", authz="allow := 1"))
    assert found == [("b", "compile_failed"), ("c", "bad_decision")]


def test_all_modules_that_cannot_be_read_are_named() -> None:
    found = check({"b": bundle("b", authz="allow := ", other="x := ")})
    assert [(each.file, each.outcome) for each in found] == [
        ("authz.rego", "compile_failed"),
        ("other.rego", "compile_failed"),
    ]


def test_a_check_that_takes_too_long() -> None:
    slow = "test_slow if count([1 | numbers.range(1, 99999)[_]; numbers.range(1, 99999)[_]]) > 0"
    [problem] = check({"b": bundle(authz="allow := true", authz_test=slow)}, seconds=1.0)
    assert (problem.outcome, problem.bundle) == ("check_timeout", "")  # a test's own time limit would name the bundle


def test_a_check_that_is_stopped() -> None:
    """A gateway that ends does not wait for other people's tests."""
    endless = "test_slow if count([1 | numbers.range(1, 99999)[_]; numbers.range(1, 99999)[_]]) > 0"
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with pytest.raises(GatewayError, match="check_stopped"):
        check({"b": bundle(authz="allow := true", authz_test=endless)}, stop=stop)
    timer.join()


def test_more_than_a_pipe_holds() -> None:
    assert check({"b": bundle(authz=f"allow := true\n# {'x' * 3_000_000}")}) == []


def test_a_child_that_dies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For instance of too little memory: the commit is refused, and nothing else happens."""
    broken = tmp_path / "gateway"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise SystemExit('out of luck')")
    monkeypatch.setattr(child, "environment", lambda _: {"PYTHONPATH": str(tmp_path)})
    [problem] = check({"b": bundle(authz="allow := true")})
    assert problem.outcome == "check_failed"
    assert "out of luck" in problem.detail


def test_a_child_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    [problem] = check({"b": bundle(authz="allow := true")})
    assert problem.outcome == "check_failed"


def test_the_child_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "sk-secret" not in child.environment().values()


@pytest.mark.parametrize(
    ("rules", "outcome", "row", "said"),
    [
        (
            'allow if http.send({"method": "GET", "url": "http://a"}).status_code == 200',
            "no_network",
            3,
            "`http.send` fails whenever a call is judged: policies may not use the network",
        ),
        ('# http.send()\nallow if count(net.lookup_ip_addr("a")) > 1', "no_network", 4, "`net.lookup_ip_addr` fails"),
        (
            'allow if {\n\tinput.action == "messages"\n}\n\n'
            'deny contains "x" if count([1 | some a in numbers.range(1, 9999); some b in numbers.range(1, 9999)]) < 0',
            "too_slow",
            0,
            "denied `policy_deadline` in any time: the work budget of this decision is used up",
        ),
    ],
)
def test_what_can_only_fail_when_a_call_is_judged(
    rules: str, outcome: str, row: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doomed, "_LONGEST", 60.0)  # on a busy machine a second is over before the budget is used up
    [problem] = problems_of({"b": bundle(authz=rules)})
    assert (problem.outcome, problem.row) == (outcome, row)
    assert said in problem.detail
    assert "allow_network" not in str(problem)


def test_what_takes_longer_than_a_request_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doomed, "_DEADLINE", 0.0)
    [problem] = problems_of({"b": bundle(authz="allow := true")})
    assert problem.outcome == "too_slow"
    assert re.search(
        r"judging an empty input takes \d+ ms, and a request has 0 \(`policy_deadline_ms`\)", problem.detail
    )


def test_a_network_that_no_decision_comes_to_is_no_problem() -> None:
    """It may be for tests, or for another host."""
    other = 'x := http.send({"method": "GET", "url": "http://a"})'
    assert outcomes(b=bundle(authz="allow := true", other=other)) == []


def test_a_directory_without_a_manifest() -> None:
    """Rules of a decision that nobody asks are a mistake; modules of something else are told about."""

    def of(*paths: str, text: bytes = b"package a\n\ndefault allow := false\n") -> list[str]:
        passed_over: list[str] = []
        files = {**{f"b/{path}": content for path, content in bundle(authz="allow := true").items()}}
        files |= dict.fromkeys(paths, text)
        assert set(collect(dict.fromkeys(files, 0o100644), files.__getitem__, passed_over=passed_over)) == {"b"}
        return passed_over

    for path in ("resarch/authz.rego", "team/deep/authz.rego", "authz.rego"):
        with pytest.raises(GatewayError, match="so nobody asks its rule `allow`") as raised:
            of(path)
        assert raised.value.code == "policies_layout"
        assert path in raised.value.message
    assert of("lib/texts.rego", text=b"package lib\n\nallowed(x) if x\nallow(x) if x\n# deny\n") == ["lib"]
    assert of("a/authz_test.rego", ".github/authz.rego", "a/README.md", "b/inner/authz.rego") == []
