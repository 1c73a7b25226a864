"""End to end: real processes, real HTTP, and the `openai` package as the agents have it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from .processes import POLICY, Live, environment, has_ended, request, write_policy

pytestmark = pytest.mark.slow

HELLO: Any = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One gateway with two workers that all tests of this module share; none leaves it stopped."""
    found = Live(tmp_path_factory.mktemp("live"))
    try:
        found.start("--workers", "2")
        yield found
    finally:
        found.close()


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=live.base_url, api_key=live.key, max_retries=0, timeout=300) as made:
        yield made


# -- the SDK, with nothing changed but its base URL and its key


def test_an_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert answer.choices[0].message.content == "You said: hello there"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 6


def test_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: hello there"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_with_usage(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=options) as stream:
        chunks = list(stream)
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []


def test_the_models(client: openai.OpenAI) -> None:
    assert "gpt-4o" in [model.id for model in client.models.list()]


async def test_async_and_many_at_once(live: Live) -> None:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:

        async def ask(number: int) -> str:
            stream = await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": str(number)}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        answers = await asyncio.gather(*(ask(number) for number in range(40)))
        assert answers == [f"You said: {number}" for number in range(40)]


@pytest.mark.parametrize(
    ("model", "error", "status", "code"),
    [
        ("o3", openai.PermissionDeniedError, 403, "policy_denied"),
        ("mock-status-400", openai.BadRequestError, 400, None),
        ("mock-status-404", openai.NotFoundError, 404, None),
        ("mock-status-409", openai.ConflictError, 409, None),
        ("mock-status-422", openai.UnprocessableEntityError, 422, None),
        ("mock-status-429", openai.RateLimitError, 429, None),
        ("mock-status-500", openai.InternalServerError, 500, None),
        # Says something about the gateway's own credential, which is no business of the agent's.
        ("mock-status-401", openai.InternalServerError, 502, "upstream_unavailable"),
    ],
)
def test_exceptions_are_the_ones_that_users_expect(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], status: int, code: str | None
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=HELLO)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.response.headers["x-decision-id"].startswith("dec_")


def test_a_denial_says_why(client: openai.OpenAI) -> None:
    prompts: Any = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]
    with pytest.raises(openai.PermissionDeniedError, match="one system prompt at most"):
        client.chat.completions.create(model="gpt-4o", messages=prompts)


def test_a_refusal_is_not_tried_again(live: Live) -> None:
    """The SDK's own retries stay out of the way where waiting cures nothing."""
    before = len(live.entries())
    with (
        openai.OpenAI(base_url=live.base_url, api_key=live.key) as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        client.chat.completions.create(model="o3", messages=HELLO)
    assert len(live.entries()) == before + 1


@pytest.mark.parametrize("key", ["nonsense", "aig_sk_" + "0" * 12 + "_" + "0" * 49])
def test_a_wrong_key(live: Live, key: str) -> None:
    with (
        openai.OpenAI(base_url=live.base_url, api_key=key, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert caught.value.code == "bad_credentials"


def test_an_unknown_route(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.batches.list()
    assert caught.value.code == "unknown_route"
    assert "this gateway does not serve batches" in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("{}", "`/v1` is missing"),
        ("{}/mock", "`/v1` is missing"),
        ("{}/v1/v1", "the path has `/v1` twice"),
        ("{}/v1/chat/completions", "the path has a route twice"),
        ("{}/mokc/v1", "did you mean `mock`?"),
    ],
)
def test_a_wrong_base_url_is_explained(live: Live, base_url: str, says: str) -> None:
    right = live.base_url.removesuffix("/v1")
    with (
        openai.OpenAI(base_url=base_url.format(right), api_key=live.key) as client,
        pytest.raises(openai.NotFoundError) as caught,
    ):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert (caught.value.code, caught.value.type) == ("unknown_route", "not_found_error")
    assert says in str(caught.value)


def test_the_operator_is_told_that_an_upstream_demands_a_key(live: Live, client: openai.OpenAI) -> None:
    for status in (401, 403):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model=f"mock-status-{status}", messages=HELLO)
        assert (caught.value.code, caught.value.status_code) == ("upstream_unavailable", 502)
        assert "injected failure" not in str(caught.value)
    assert live.up is not None
    live.up.line(r"no call to the upstream `mock` can succeed: it demands a key, and the gateway has none for it")


def test_an_agent_at_the_control_plane_is_told_where_to_go(live: Live) -> None:
    assert live.up is not None
    control = live.up.line(r"control plane (\S+)\)")[1]
    with (
        openai.OpenAI(base_url=f"{control}/v1", api_key=live.key, max_retries=0) as client,
        pytest.raises(openai.NotFoundError, match=live.base_url.removesuffix("/v1")),
    ):
        client.models.list()


def test_another_method_is_told_which_one_the_path_takes(live: Live) -> None:
    headers = {"authorization": f"Bearer {live.key}"}
    reply = httpx.get(f"{live.base_url}/chat/completions", headers=headers, timeout=300)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["error"]["code"] == "wrong_method"


def test_an_answer_that_breaks_off_raises(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="mock-cut", messages=HELLO)


def test_a_stream_that_breaks_off_raises(client: openai.OpenAI) -> None:
    with (
        client.chat.completions.create(model="mock-cut", messages=HELLO, stream=True) as stream,
        pytest.raises(openai.APIError),
    ):
        list(stream)


def test_leaving_a_stream_early_is_recorded(live: Live, client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="mock-pause-100", messages=HELLO, stream=True) as stream:
        next(iter(stream))
        decision = stream.response.headers["x-decision-id"]

    def closing() -> list[str]:
        found = [entry for entry in live.entries() if entry.get("decision") == decision]
        return [entry["outcome"] for entry in found]

    live.wait(lambda: closing() == ["client_disconnected"])


# -- the processes


def test_a_revocation_holds_in_every_worker_at_once(live: Live) -> None:
    live.run("agents", "register", "leaver")
    live.run("bind", "leaver", "starter")
    made = json.loads(live.run("keys", "create", "leaver", "--json"))
    raw = request(made["key"])
    # Enough connections that the kernel has given some to each worker.
    connections = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(24)]
    try:
        assert {_status(each, raw) for each in connections} == {200}
        live.run("keys", "revoke", made["id"])
        assert {_status(each, raw) for each in connections} == {401}
    finally:
        for each in connections:
            each.close()
    boots = {entry["boot"] for entry in live.entries() if entry["kind"] == "decided"}
    assert len(boots) >= 2


def test_a_killed_worker_is_replaced_and_its_decisions_closed(live: Live) -> None:
    workers = live.children()
    assert len(workers) == 2
    before = len([entry for entry in live.entries() if entry.get("outcome") == "unknown"])
    # So many that the kernel has given some to each worker, and so slow that all of them are under way at once.
    streams = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(24)]
    try:
        for each in streams:
            each.sendall(request(live.key, "mock-delay-15000"))
        live.wait(lambda: live.rows("SELECT count(*) FROM open_decision") == [(24,)])
        os.kill(workers[0], signal.SIGKILL)
        live.wait(lambda: len(live.children()) == 2 and workers[0] not in live.children())

        def unknown() -> int:
            return len([entry for entry in live.entries() if entry.get("outcome") == "unknown"]) - before

        # Those of the dead worker are closed as unknown; those of the other end by themselves.
        live.wait(lambda: unknown() > 0)
        live.wait(lambda: live.rows("SELECT count(*) FROM open_decision") == [(0,)])
        assert 0 < unknown() < 24
    finally:
        for each in streams:
            each.close()
    live.wait(lambda: _status_of_new(live) == 200)


def _healthy(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_control_process_is_replaced(live: Live) -> None:
    (control,) = live.children("control")
    assert live.up is not None
    address = live.up.line(r"control plane (\S+)\)")[1]
    # The settings of the start count: a file that somebody is editing must not keep a process down.
    file = live.data / "gateway.toml"
    saved = file.read_text()
    file.write_text("prot = 1\n")
    try:
        os.kill(control, signal.SIGKILL)
        live.wait(lambda: len(live.children("control")) == 1 and live.children("control") != [control])
        live.wait(lambda: _healthy(address))
    finally:
        file.write_text(saved)
    assert _status_of_new(live) == 200


def test_a_new_commit_comes_into_force_and_a_broken_one_does_not(live: Live, client: openai.OpenAI) -> None:
    def allowed(model: str) -> bool:
        try:
            client.chat.completions.create(model=model, messages=HELLO)
        except openai.PermissionDeniedError:
            return False
        return True

    assert not allowed("o3")
    write_policy(live.data / "policies", POLICY.replace("^(gpt-4o|mock-)", "^(gpt-4o|mock-|o3)"))
    live.wait(lambda: allowed("o3"))
    write_policy(live.data / "policies", "package bot.authz\n\nallow if {")
    live.wait(lambda: any(e["kind"] == "activation" and e["outcome"] != "ok" for e in live.entries("system")))
    assert allowed("o3")
    assert live.up is not None
    rejected = [line for line in live.up.text.splitlines() if "is rejected (compile_failed): " in line]
    assert len(rejected) == 1, "the operator sees it once, and why"
    assert "bundle starter: authz.rego:3: rego_parse_error: " in rejected[0]
    actors = [e["actor"] for e in live.entries("system") if e["kind"] == "activation"]
    assert actors[0].startswith("local:"), "`gateway init` was somebody's command"
    assert set(actors[1:]) == {"gateway"}
    write_policy(live.data / "policies", POLICY)
    live.wait(lambda: not allowed("o3"))


def test_command_line_and_workers_append_at_the_same_time(live: Live) -> None:
    """No gap, no fork, and nobody starves beside the others."""
    answers = [0] * 8
    stop = threading.Event()

    def ask(client: int) -> None:
        with socket.create_connection(("127.0.0.1", live.port)) as connection:
            while not stop.is_set():
                assert _status(connection, request(live.key)) == 200
                answers[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(len(answers))]
    for thread in threads:
        thread.start()
    try:
        for number in itertools.count():
            live.run("agents", "register", f"beside-{number}")
            if number >= 40 or (number >= 3 and min(answers) > 5):
                break
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    sequences = [
        seq
        for (seq,) in live.rows("SELECT seq FROM entry JOIN log ON log.id = log_id WHERE organization = ?", "default")
    ]
    assert sorted(sequences) == list(range(len(sequences)))
    assert min(answers) > 5


def test_a_worker_imports_nothing_heavy(live: Live) -> None:
    """Run the worker's own composition root in a process of its own, and look at its imports and its memory."""
    program = """
import asyncio, json, sys
from gateway.http import sockets
from gateway.processes import data_worker
from gateway.processes.background import Background
from gateway.settings import load_settings

async def main():
    stop = asyncio.Event()
    settings = load_settings({"data": sys.argv[1], "port": 0}, env={})
    descriptor = sockets.bind("127.0.0.1", 0, shared=True).detach()
    ready = lambda report: stop.set()
    await data_worker.run(settings, "boot_look", stop, Background(stop), ready, descriptor, asyncio.Event())

asyncio.run(main())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
names = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps([names, int(status["VmRSS"].split()[0]) * 1024]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(live.data)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    names, resident = json.loads(done.stdout)
    modules = set(names)
    assert {"gateway", "policy_engine", "httptools"} <= modules
    heavy = {"sqlmodel", "sqlalchemy", "alembic", "pydantic", "typer", "rich", "dulwich", "jinja2", "lark", "yaml"}
    heavy |= {"prometheus_client", "opentelemetry", "google", "aiohttp", "uvicorn"}
    assert modules & heavy == set()
    assert resident <= 90e6


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--port", "TAKEN", "--control-port", "0", "--data", "OTHER", "--create"], "address already in use"),
        (["--port", "0", "--control-port", "0"], "a gateway is running on"),
        (["--host", "0.0.0.0"], "is not a loopback address"),
        (["--port", "70000"], "from 0 to 65535"),
        (["--host", "a" * 80, "--insecure", "--data", "OTHER", "--create"], "is not a host name"),
        (["--data", "OTHER-ONE"], "type `gateway init --data"),
    ],
)
def test_what_keeps_a_gateway_from_starting(live: Live, flags: list[str], says: str) -> None:
    given = [flag.replace("TAKEN", str(live.port)).replace("OTHER", str(live.directory / "other")) for flag in flags]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())", "up", *given],
        cwd=live.directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    # Nobody sits at a terminal: a program reads what one that starts says, and one that does not.
    assert live.up is not None
    lines = [*done.stderr.splitlines(), *live.up.text.splitlines()]
    assert {json.loads(each)["level"] for each in lines} >= {"info", "error"}


# Last of all, because it stops the shared gateway and leaves a fresh one.


def test_killed_altogether_and_started_again(live: Live) -> None:
    assert live.up is not None
    connections = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(10)]
    for each in connections:
        each.sendall(request(live.key, "mock-delay-60000"))
    live.wait(lambda: live.rows("SELECT count(*) FROM open_decision") == [(10,)])
    everything = [live.up.process.pid, *live.children(), *live.children("control")]
    for process in everything:
        os.kill(process, signal.SIGKILL)
    live.up.process.wait()
    live.wait(lambda: all(map(has_ended, everything)))  # one that still runs would be taken for a worker at work
    for each in connections:
        each.close()
    live.start("--workers", "2")
    assert live.rows("SELECT count(*) FROM open_decision") == [(0,)]
    assert _status_of_new(live) == 200
    live.stop()
    live.check_log()
    live.start()


def test_a_supervisor_that_is_killed_takes_its_children_with_it(live: Live) -> None:
    assert live.up is not None
    children = live.children() + live.children("control")
    live.up.process.kill()
    live.up.process.wait()
    live.wait(lambda: all(map(has_ended, children)))
    live.start()
    live.stop()
    live.check_log()
    live.start()


def _status(connection: socket.socket, request: bytes) -> int:
    connection.settimeout(240)
    connection.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += _some(connection)
    return int(head.split(b" ")[1])


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the connection ended within an answer"
    return data


def _status_of_new(live: Live) -> int:
    with socket.create_connection(("127.0.0.1", live.port)) as connection:
        return _status(connection, request(live.key))


def test_without_init(tmp_path: Path) -> None:
    """A mistyped directory is an error; with `--create` an empty gateway is made, says what is missing, and denies."""
    empty = Live.__new__(Live)
    empty.directory, empty.data, empty.up = tmp_path, tmp_path / ".gateway", None
    try:
        empty.run("up", code=1)
        assert list(tmp_path.iterdir()) == [], "nothing is made"
        empty.start("--create")
        assert empty.up is not None
        said = empty.up.line("no upstream").string
        assert "there was no gateway in .gateway" in said
        assert "gateway agents register" in said
        made = json.loads(empty.run("agents", "register", "bot", "--json"))
        key = json.loads(empty.run("keys", "create", "bot", "--json"))["key"]
        assert made["name"] == "bot"
        empty.run("upstreams", "add", "openai", "--no-key", "--base-url", "http://127.0.0.1:1/v1", "--default")
        with (
            openai.OpenAI(base_url=empty.base_url, api_key=key, max_retries=0) as client,
            pytest.raises(openai.PermissionDeniedError) as caught,
        ):
            client.models.list()
        assert caught.value.code == "no_policy"
    finally:
        if empty.up is not None:
            empty.up.stop()
