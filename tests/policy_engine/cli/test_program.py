"""The `policy` program as its users meet it: what it prints where, and its exit code. One set of files, used by all."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from policy_engine import engine
from policy_engine.cli.app import run

AUTHZ = """package authz

default allow := false

allow if {
	"admin" in input.roles
	print("roles", input.roles)
}

broken if to_number(input.n) == 1
"""

AUTHZ_TEST = """package authz_test

import data.authz

test_admin if authz.allow with input as {"roles": ["admin"]}

test_guest if not authz.allow with input as {"roles": ["guest"]}
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("p/authz.rego", AUTHZ)
    write("p/authz_test.rego", AUTHZ_TEST)


def write(name: str, content: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(content, "utf-8")


@pytest.fixture
def policy(capsys: pytest.CaptureFixture[str]) -> object:
    """Runs the program; gives its exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


# ---- policy test


def test_green_tests_are_one_line(policy) -> None:
    assert policy("test", "p") == (0, "PASS: 2/2\n", "")


def test_a_failing_test_is_shown_with_its_place(policy) -> None:
    write("p/more_test.rego", "package more_test\n\ntest_no if false\n")
    code, out, _ = policy("test", "p")
    assert code == 1
    assert "p/more_test.rego:3:\ndata.more_test.test_no: FAIL (" in out
    assert out.endswith("PASS: 2/3\nFAIL: 1/3\n")


def test_verbose_shows_what_was_printed(policy) -> None:
    _, out, _ = policy("test", "p", "-v")
    assert "data.authz_test.test_admin: PASS" in out
    assert '  roles ["admin"]\n' in out


def test_a_filter_narrows(policy) -> None:
    assert policy("test", "p", "-r", "guest")[1] == "PASS: 1/1\n"


def test_skipped_tests_are_not_fine_unless_said(policy) -> None:
    write("p/later_test.rego", "package later_test\n\ntodo_test_x if false\n")
    assert policy("test", "p")[0] == 1
    assert policy("test", "p", "-z")[0] == 0


def test_no_tests_are_fine_unless_said(policy) -> None:
    assert policy("test", "p/authz.rego") == (0, "", "no tests found\n")
    assert policy("test", "p/authz.rego", "--fail-on-empty")[0] == 1


def test_results_for_programs(policy) -> None:
    code, out, _ = policy("test", "p", "--format", "json")
    assert code == 0
    assert [result["name"] for result in json.loads(out)] == ["test_admin", "test_guest"]


def test_coverage_is_shown_if_all_tests_pass(policy) -> None:
    code, out, err = policy("test", "p", "--coverage", "-v")
    report = json.loads(out)
    assert (code, err, list(report["files"])) == (0, "", ["p/authz.rego", "p/authz_test.rego"])
    assert report["files"]["p/authz.rego"]["not_covered"] == [{"start": {"row": 10}, "end": {"row": 10}}]
    write("p/more_test.rego", "package more_test\n\ntest_no if false\n")
    code, out, _ = policy("test", "p", "--coverage")
    assert (code, out.split("\n")[0]) == (1, "p/more_test.rego:3:")


def test_too_little_coverage_is_a_failure(policy) -> None:
    assert policy("test", "p", "--threshold", "80")[0] == 0
    text = "coverage is 85.71 percent, below the threshold of 90.00\n"
    assert policy("test", "p", "--threshold", "90") == (1, "", text)
    assert policy("test", "p", "--threshold", "90", "-v") == (1, "", f"{text}  p/authz.rego:10\n")


def test_each_bundle_is_tested_on_its_own(policy) -> None:
    """Two bundles with the same package would be one conflict if they were compiled together."""
    for name in ("one", "two"):
        write(f"bundles/{name}/.manifest", '{"roots": ["authz", "authz_test"]}')
        write(f"bundles/{name}/authz.rego", "package authz\n\ndefault allow := false\n")
        write(f"bundles/{name}/authz_test.rego", "package authz_test\n\ntest_x if not data.authz.allow\n")
    assert policy("test", "bundles")[:2] == (0, "PASS: 2/2\n")


def test_policies_that_do_not_compile_are_shown_with_the_line(policy) -> None:
    write("p/bad.rego", "package bad\n\nallow if {\n\tx == y\n}\n")
    code, out, err = policy("test", "p")
    assert (code, out) == (2, "")
    assert "p/bad.rego:4:" in err
    assert "  4 |   x == y\n    |   ^\n" in err


def test_strict_tests_see_errors_of_builtins(policy) -> None:
    write("p/n_test.rego", 'package n_test\n\ntest_n if not data.authz.broken with input as {"n": "x"}\n')
    assert policy("test", "p")[0] == 0
    code, out, _ = policy("test", "p", "--strict-builtin-errors")
    assert code == 1
    assert "eval_builtin_error: to_number:" in out


@pytest.mark.parametrize(
    ("pattern", "hint"), [("test_gest", "did you mean `test_guest`?"), ("^$", "`policy test -v` lists them")]
)
def test_a_filter_that_matches_nothing_is_an_error(policy, pattern: str, hint: str) -> None:
    code, out, err = policy("test", "p", "-r", pattern)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: no test matches `{pattern}`\n")
    assert hint in err


@pytest.mark.parametrize("verb", ["test", "check"])
def test_a_directory_without_policies_is_an_error(policy, verb: str) -> None:
    write("q/data.json", "{}")
    code, out, err = policy(verb, "q")
    assert (code, out) == (2, "")
    assert err.startswith("error: no policies in `q`\n")


@pytest.mark.parametrize("verb", ["test", "check"])
@pytest.mark.parametrize("form", ["github", "sarif", "junit", "tap", "json"])
def test_errors_of_compilation_are_in_the_report(policy, verb: str, form: str) -> None:
    write("p/bad.rego", "package bad\n\nallow if {\n\tx == y\n}\n")
    code, out, err = policy(verb, "p", "--format", form)
    assert (code, err) == ({"test": 2, "check": 1}[verb], "")
    assert "p/bad.rego" in out
    assert "rego_unsafe_var_error" in out


def test_coverage_for_ci(policy) -> None:
    code, out, _ = policy("test", "p", "--format", "lcov")
    assert code == 0
    assert "SF:p/authz.rego\nDA:3,1\nDA:5,1\nDA:6,1\nDA:7,1\nDA:10,0\nLF:5\nLH:4\nend_of_record\n" in out
    code, out, _ = policy("test", "p", "--format", "cobertura")
    assert code == 0
    found = ElementTree.fromstring(out)
    assert (found.get("lines-valid"), found.get("lines-covered"), found.get("line-rate")) == ("7", "6", "0.8571")
    lines = found.findall("packages/package/classes/class[@filename='p/authz.rego']/lines/line")
    assert {(line.get("number"), line.get("hits")) for line in lines} >= {("7", "1"), ("10", "0")}
    write("p/more_test.rego", "package more_test\n\ntest_no if false\n")
    code, out, err = policy("test", "p", "--format", "lcov")
    assert (code, out) == (1, "")
    assert "test_no: FAIL" in err


def test_what_was_not_checked_is_said(policy) -> None:
    write("b/authz/.manifest", '{"roots": ["x"], "metadata": {"gateway": {"entrypoint": "data.x"}}}')
    write("b/authz/x.rego", "package x\n\ntest_x if true\n")
    for verb in ("test", "check"):
        code, _, err = policy(verb, "b")
        assert (code, err) == (0, "note: the gateway asks more of a bundle: `gateway policies check b`\n")
        assert policy(verb, "b", "--format", "json")[2] == ""


# ---- policy check


@pytest.mark.parametrize("verb", [("test",), ("check",), ("eval", "1", "-d")])
def test_files_are_ignored_by_patterns_behind_one_option_or_several(
    policy, verb: tuple[str, ...], tmp_path: Path
) -> None:
    for name in ("a.json", "b.json", "c.yaml"):
        (tmp_path / name).write_text(json.dumps({"same": name}))
    (tmp_path / "t_test.rego").write_text("package t\n\ntest_it if true\n")
    assert policy(*verb, str(tmp_path))[0] == 2
    assert policy(*verb, str(tmp_path), "--ignore", "*.yaml,b.*")[0] == 0
    assert policy(*verb, str(tmp_path), "--ignore", "*.yaml", "--ignore", "b.*")[0] == 0


@pytest.mark.parametrize("verb", [("test", "-b"), ("check", "-b"), ("eval", "data.t.test_it", "-b")])
def test_a_directory_is_a_bundle_if_one_says_so(policy, verb: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("a.json", "b.json", "data.json"):
        (tmp_path / name).write_text(json.dumps({"same": name}))
    (tmp_path / "t_test.rego").write_text('package t\n\ntest_it if data.same == "data.json"\n')
    assert policy(*verb, str(tmp_path))[0] == 0


def test_check_is_silent_when_all_is_well(policy) -> None:
    assert policy("check", "p") == (0, "", "")


def test_check_shows_every_error(policy) -> None:
    write("p/one.rego", "package one\n\np if {\n")
    write("p/two.rego", "package two\n\np := := 1\n")
    code, _, err = policy("check", "p")
    assert code == 1
    assert "p/one.rego:" in err
    assert "p/two.rego:3:6: rego_parse_error: " in err


def test_check_stops_listing_after_ten(policy) -> None:
    write("p/many.rego", "package many\n" + "".join(f"p{i} if unknown{i}(1)\n" for i in range(20)))
    code, _, err = policy("check", "p")
    assert code == 1
    assert err.count("p/many.rego:") == 10
    assert "error limit reached" in err


def test_check_keeps_a_bundle_inside_its_roots(policy) -> None:
    write("b/.manifest", '{"roots": ["authz", "team/a"]}')
    write("b/authz.rego", "package authz.http\n")
    write("b/team.rego", "package team.a\n")
    assert policy("check", "b")[0] == 0
    write("b/other.rego", "package team.b\n")
    code, _, err = policy("check", "b")
    assert code == 1
    assert err.startswith("b/other.rego:1:1: bundle_error: package `team.b` is outside the manifest's roots\n")


# ---- policy eval


def test_eval_answers_in_the_shape_of_opa(policy) -> None:
    write("input.json", '{"roles": ["admin"]}')
    code, out, err = policy("eval", "-d", "p", "-i", "input.json", "data.authz.allow")
    assert code == 0
    expression = {"value": True, "text": "data.authz.allow", "location": {"row": 1, "col": 1}}
    assert json.loads(out) == {"result": [{"expressions": [expression]}]}
    assert err == 'roles ["admin"]\n'


@pytest.mark.parametrize("how", ["option", "environment"])
def test_eval_finds_compiled_policies_again(policy, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    arguments = ["eval", "-d", "p", "data.authz.allow"]
    if how == "option":
        arguments += ["--cache", "compiled"]
    else:
        monkeypatch.setenv("POLICY_CACHE", "compiled")
    first = policy(*arguments)
    assert first[0] == 0
    monkeypatch.setattr(engine, "compile_program", lambda *_, **__: pytest.fail("it was compiled again"))
    assert policy(*arguments) == first


def test_eval_gives_bindings(policy) -> None:
    code, out, _ = policy("eval", "some x in [1, 2]; y := x * 10; y > 10")
    assert code == 0
    (result,) = json.loads(out)["result"]
    assert result["bindings"] == {"x": 2, "y": 20}
    assert [each["text"] for each in result["expressions"]] == ["some x in [1, 2]", "y := x * 10", "y > 10"]


def test_eval_accepts_a_call_with_an_output_operand(policy) -> None:
    code, out, _ = policy("eval", 'walk({"a": 1}, [path, value])')
    assert code == 0
    assert [answer["bindings"] for answer in json.loads(out)["result"]] == [
        {"path": [], "value": {"a": 1}},
        {"path": ["a"], "value": 1},
    ]
    assert json.loads(out)["result"][0]["expressions"][0]["value"] is True


def test_eval_of_something_undefined_is_empty(policy) -> None:
    assert policy("eval", "input.x") == (0, "{}\n", "")
    assert policy("eval", "--fail", "input.x")[0] == 1
    assert policy("eval", "--fail-defined", "1")[0] == 1


def test_false_alone_is_a_result_but_a_failed_condition_is_not(policy) -> None:
    assert json.loads(policy("eval", "1 == 2")[1])["result"][0]["expressions"][0]["value"] is False
    assert policy("eval", "x := 1; x == 2")[1] == "{}\n"
    assert policy("eval", "-f", "pretty", "[true, false][_]")[1] == "true\n"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("1.50", "1.50"),
        ('{"b": [1, {"c"}], "a": {}}', '{\n  "a": {},\n  "b": [\n    1,\n    [\n      "c"\n    ]\n  ]\n}'),
        ("input.x", "undefined"),
        ("x := 1; some y in [2, 3]", "x  y\n-  -\n1  2\n1  3"),
        ("1; 2", "1  2\n-  -\n1  2"),
    ],
)
def test_pretty_is_a_value_or_a_table(policy, query: str, text: str) -> None:
    assert policy("eval", "-f", "pretty", query)[1] == text + "\n"


def test_the_input_may_come_through_a_pipe(policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"x": 1.0}')))
    assert policy("eval", "-f", "pretty", "--stdin-input", "input.x")[1] == "1.0\n"


def test_errors_are_for_people_or_for_programs(policy) -> None:
    code, out, err = policy("eval", "-f", "pretty", "x :=")
    assert (code, out) == (2, "")
    assert err.startswith("1:3: rego_parse_error: ")
    code, out, err = policy("eval", "x :=")
    assert (code, err) == (2, "")
    assert json.loads(out)["errors"][0]["code"] == "rego_parse_error"


def test_raw_is_for_scripts(policy) -> None:
    assert policy("eval", "-f", "raw", 'x := ["a b", 1][_]; x') == (0, "true a b\ntrue 1\n", "")
    assert policy("eval", "-f", "raw", "input.x") == (0, "", "")
    assert policy("eval", "-f", "raw", '{"a": ["b"]}')[1] == '{"a":["b"]}\n'


def test_eval_explains_what_failed(policy) -> None:
    write("input.json", '{"roles": ["guest"]}')
    command = ["eval", "-d", "p", "-i", "input.json", "data.authz.allow == true", "-f", "pretty", "--explain"]
    failed = '  p/authz.rego:6: `"admin" in input.roles` does not hold; input.roles = ["guest"]\n'
    asked = "query:1: `data.authz.allow == true` is false; data.authz.allow = false\n"
    assert policy(*command, "fails") == (0, f"{failed}{asked}false\n", "")
    write("input.json", '{"roles": ["admin"]}')
    assert policy(*command, "fails")[1] == "true\n"
    _, full, err = policy(*command, "full")
    assert '  p/authz.rego:6: `"admin" in input.roles` holds; input.roles = ["admin"]\n' in full
    assert err == 'roles ["admin"]\n', "the second evaluation prints nothing"
    _, out, _ = policy("eval", "-d", "p", "data.authz.allow == true", "--explain", "fails")
    assert "query:1: `data.authz.allow == true` is false; data.authz.allow = false" in json.loads(out)["explanation"]


@pytest.mark.parametrize(("query", "name"), [("cuont([1])", "count"), ("x := regex.mtach(`a`, `b`)", "regex.match")])
def test_a_misspelt_function_of_a_query_has_a_hint(policy, query: str, name: str) -> None:
    code, out, err = policy("eval", "-f", "pretty", query)
    assert (code, out) == (2, "")
    assert "rego_type_error: undefined function " in err
    assert f"hint: did you mean `{name}`?" in err


# ---- wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test"], "error: missing argument"),
        (["tset", "p"], "error: no such command"),
        (["test", "--verbos", "p"], "error: no such option: --verbos"),
        (["test", "gone"], "error: no such file or directory: `gone`"),
        (["check", "gone.rego"], "error: no such file or directory: `gone.rego`"),
        (["test", "p", "-r", "("], "is not a regular expression"),
        (["test", "p", "--timeout", "soon"], "is not a duration: write 500ms, 5s or 1m30s"),
        (["test", "p", "--timeout", "5x"], "is not a duration"),
        (["test", "p", "--threshold", "101"], "error: invalid value for '--threshold'"),
        (["test", "p", "--format", "sarif", "--coverage"], "sarif is no format of coverage"),
        (["test", "p", "--format", "xml"], "error: invalid value for '--format'"),
        (["eval", "-f", "pretty", "-d", "gone", "1"], "error: no such file or directory: `gone`"),
        (["eval", "-f", "pretty", "-i", "gone.json", "1"], "error: cannot read `gone.json`: No such file or directory"),
        (["eval", "-i", "x", "-I", "1"], "exclude each other"),
    ],
)
def test_wrong_usage_is_one_clear_error(policy, arguments: list[str], message: str) -> None:
    code, out, err = policy(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) <= 2


def test_a_file_that_may_not_be_read_is_named(policy) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    Path("p/authz.rego").chmod(0)
    code, _, err = policy("check", "p")
    assert code == 2
    assert err == "error: cannot read `p/authz.rego`: Permission denied\n"


@pytest.mark.parametrize("verb", [(), ("test",), ("check",), ("eval",)])
def test_help_is_plain_text_when_it_is_piped(policy, verb: tuple[str, ...]) -> None:
    code, out, _ = policy(*verb, "--help")
    assert code == 0
    assert out.startswith(" ".join(["Usage: policy", *verb]))
    assert "\x1b" not in out
    assert "│" not in out
    assert "..." not in out.replace("[ARGS]...", "").partition("Commands:")[2]


PROGRAM = [sys.executable, "-c", "import sys; from policy_engine.cli import main; sys.exit(main())"]


def test_a_terminal_shows_one_clear_error_in_colours() -> None:
    terminal, inner = pty.openpty()
    subprocess.run([*PROGRAM, "evl"], stdout=inner, stderr=inner, env={"TERM": "xterm"}, timeout=300, check=False)
    os.close(inner)
    text = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "\x1b[1;31merror\x1b[0m: no such command 'evl'" in text
    assert len(text.splitlines()) == 2


def test_a_closed_pipe_is_no_error() -> None:
    write("p/many_test.rego", "package many_test\n" + "".join(f"test_{i} if true\n" for i in range(3000)))
    program = [
        sys.executable,
        "-c",
        "import sys; from policy_engine.cli import main; sys.exit(main())",
        "test",
        "-v",
        "p",
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
