"""A gateway as its users run it, for walks, races and loads on approvals: agents, reviewers and receivers of notices.

People act over the control API with tokens of their own, and agents over sockets. With a C compiler its clock can jump.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.audit import grants
from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.registry.database import Registry
from tests.gateway.crash.faults import Faults, build
from tests.gateway.dataplane.conftest import Upstream, read_reply
from tests.gateway.dataplane.processes import Live, request, write_policy

REVIEWERS: Final = ("dora", "olga", "tom", "eva")
MOMENT: Final = frozenset({"policy_not_loaded"})
"""The refusals with 503 that a gateway may give for a moment: a worker has not loaded the bundles that are in force."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a call ended: status and code; 0 if the connection was lost, and why. `body` is what came."""

    status: int
    code: str = ""
    body: bytes = b""


class Receiver:
    """Takes notices on this machine, or fails to: `answer` is the status, or 0 to close the connection."""

    def __init__(self) -> None:
        self.answer = 204
        self.accepted: Counter[str] = Counter()
        self.failed = 0
        self.url = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            await reader.readexactly(int(lines["content-length"]))
            if answer := self.answer:
                if answer < 300:
                    self.accepted[lines["webhook-id"]] += 1
                else:
                    self.failed += 1
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % answer)
        writer.close()

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()


class Rig:
    """One gateway with `workers`. `begin` starts it; `settings` are lines of `gateway.toml`."""

    def __init__(self, directory: Path, *settings: str, workers: int = 2) -> None:
        self.live = Live(directory)
        self.data = DataDirectory(self.live.data)
        self.workers = workers
        self.upstream = Upstream()
        self.receivers = [Receiver(), Receiver()]
        self.hooks: list[str] = []
        self.tokens: dict[str, str] = {}
        self.keys: dict[str, str] = {"bot": self.live.key}
        self.key_ids: dict[str, str] = {}
        self.looked: set[tuple[str, str]] = set()  # people, and the requests whose calls they were shown
        self.offset_ns = 0
        self.told: Counter[str] = Counter()  # refusals with 503 that were tried again
        library = build(directory)
        self.faults = None if library is None else Faults(library, directory, self.live.data)
        self.registry: Registry
        self._control = 0
        with (self.live.data / "gateway.toml").open("a") as file:
            file.write("".join(f"{each}\n" for each in ("drain_timeout = 2", *settings)))

    async def begin(self, policy: str, *agents: str) -> None:
        port = await self.upstream.start()
        run = self.live.run
        url = f"http://127.0.0.1:{port}/v1"
        await asyncio.to_thread(run, "upstreams", "add", "seen", "--base-url", url, "--no-key")
        await asyncio.to_thread(run, "operators", "add", "owner", "--role", "owner")
        self.tokens["owner"] = (await asyncio.to_thread(run, "operators", "token", "create", "owner")).split()[0]
        await self.start()
        self.registry = Registry.open(self.data)
        await self.put_in_force(policy)
        for name in REVIEWERS:
            await self.hire(name)
        for agent in agents:
            await self.register(agent)
        for each in self.receivers:
            await each.start()
            made = await self.ask("owner", "POST", "/webhooks", {"url": each.url, "insecure": True})
            self.hooks.append(made["id"])

    async def start(self) -> None:
        variables = self.variables
        os.environ.update(variables)
        try:
            await asyncio.to_thread(self.live.start, "--workers", str(self.workers))
        finally:
            for name in variables:
                del os.environ[name]
        assert self.live.up is not None
        self._control = int(self.live.up.line(r"control plane http://127.0.0.1:(\d+)")[1])

    @property
    def variables(self) -> dict[str, str]:
        """The environment by which the clock can jump; without the other faults."""
        found = self.faults.environment if self.faults else {}
        return {name: found[name] for name in ("LD_PRELOAD", "CRASH_CONTROL") if name in found}

    async def end(self) -> None:
        if hasattr(self, "registry"):
            self.registry.close()
        await asyncio.to_thread(self.live.close)
        await self.upstream.stop()
        for each in self.receivers:
            each.stop()

    # -- people ------------------------------------------------------------------------------------------------------

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """One request to the control API; its answer, whose member `code` says what was refused."""
        content = b"" if body is None else orjson.dumps(body)
        glue = "&" if "?" in path else "?"
        head = f"{method} /api/v1{path}{glue}organization=default HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Authorization: Bearer {self.tokens[who]}\r\nContent-Type: application/json\r\n"
        raw = head.encode() + b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._control)
            except OSError:  # the control process is being restarted
                await asyncio.sleep(0.05)
                continue
            try:
                writer.write(raw)
                reply = await read_reply(reader)
            except (OSError, EOFError) as error:
                return {"code": "lost", "detail": repr(error)}
            finally:
                writer.close()
            return orjson.loads(reply.body) if reply.body else {}

    async def act(self, verb: str, apr: str, who: str, **terms: Any) -> str:
        """Approve, deny or revoke; the code of the refusal, or nothing."""
        reason = {"reason": "no"} if verb == "deny" else {}
        found = await self.ask(who, "POST", f"/approvals/{apr}/{verb}", {**reason, **terms})
        return str(found.get("code", ""))

    async def look(self, who: str, apr: str) -> dict[str, Any] | None:
        """The content of the call, if this person may see it."""
        found = await self.ask(who, "POST", f"/approvals/{apr}/look")
        if "body" not in found:
            return None
        self.looked.add((who, apr))
        return dict(orjson.loads(found["body"]))

    async def is_in_log(self, request: str) -> None:
        """An approval can be used once its entry has left the outbox for the log."""

        def there() -> bool:
            with self.registry.read() as session:
                query = "SELECT state FROM approval_request WHERE id = ?"
                if session.connection().exec_driver_sql(query, (request,)).scalar() != "approved":
                    return True
            with opened_log(self.data) as log:
                find = "SELECT 1 FROM entry WHERE event_id = ?"
                return log.execute(find, (grants.grant_id(request),)).fetchone() is not None

        await wait_for(there)

    async def hire(self, name: str) -> None:
        await self.ask("owner", "POST", "/operators", {"name": name, "role": "admin"})
        self.tokens[name] = (await self.ask("owner", "POST", f"/operators/{name}/tokens", {}))["token"]

    async def register(self, agent: str) -> None:
        await self.ask("owner", "POST", "/agents", {"name": agent})
        bound = {"subject_kind": "agent", "subject": agent, "bundle": "starter"}
        await self.ask("owner", "POST", "/bindings", bound)
        await self.new_key(agent)

    async def new_key(self, agent: str) -> None:
        made = await self.ask("owner", "POST", "/keys", {"agent": agent})
        self.keys[agent], self.key_ids[agent] = made["key"], made["id"]

    # -- calls -------------------------------------------------------------------------------------------------------

    def raw(self, agent: str, model: str, user: str) -> bytes:
        return request(self.keys[agent], model, user=user).replace(b" /v1/", b" /seen/v1/", 1)

    async def call(self, agent: str, model: str, user: str, *, moment: frozenset[str] = MOMENT, key: str = "") -> Reply:
        """One call, sent again while no worker listens, or for the time that one needs to load a bundle."""
        raw = self.raw(agent, model, user)
        if key:
            raw = raw.replace(self.keys[agent].encode(), key.encode())
        for _ in range(600):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.live.port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                writer.write(raw)
                reply = await read_reply(reader)
            except (OSError, EOFError) as error:
                return Reply(0, "lost", repr(error).encode())
            finally:
                writer.close()
            code = "" if reply.status == 200 else str(orjson.loads(reply.body)["error"]["code"])
            if reply.status == 503 and code in moment:
                self.told[code] += 1
                await asyncio.sleep(0.05)
                continue
            return Reply(reply.status if reply.complete else 0, code, reply.body)
        raise AssertionError("nobody answers")

    # -- what happens to gateways --------------------------------------------------------------------------------------

    def active(self) -> str:
        with self.registry.read() as session:
            query = "SELECT a.revision FROM activation_current c JOIN activation a ON a.id = c.activation_id"
            return str(session.connection().exec_driver_sql(query).scalar())

    async def put_in_force(self, policy: str) -> None:
        before = self.active()
        write_policy(self.live.data / "policies", policy)
        await wait_for(lambda: self.active() != before)

    def kill(self, kind: str = "data") -> list[int]:
        """SIGKILL for the first child of this kind."""
        killed = self.live.children(kind)[:1]
        for each in killed:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        return killed

    async def is_whole_again(self, killed: list[int]) -> None:
        """Other processes have taken the place of those that were killed."""

        def whole() -> bool:
            count = len({*self.live.children("data"), *self.live.children("control")} - {*killed})
            return count == self.workers + 1

        await wait_for(whole)

    async def restart(self, *, killed: bool) -> None:
        """The whole gateway ends, by SIGKILL for each process or as it should, and is started again."""
        up = self.live.up
        assert up is not None
        if killed:
            processes = [*self.live.children("control"), *self.live.children("data"), up.process.pid]
            for each in processes:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            await asyncio.to_thread(up.process.wait, 240)
            self.live.up = None
            await wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in processes))
        else:
            await asyncio.to_thread(self.live.stop)
        await self.start()

    async def set(self, name: str, value: object) -> None:
        """Put another value of a setting into force, which replaces the workers one after the other."""
        assert self.live.up is not None
        path = self.live.data / "gateway.toml"
        lines = [each for each in path.read_text().splitlines() if not each.startswith(f"{name} ")]
        path.write_text("\n".join([*lines, f"{name} = {value}", ""]))
        before = self.live.up.text.count("new settings are in force")
        self.live.up.process.send_signal(signal.SIGHUP)
        up = self.live.up
        await wait_for(lambda: up.text.count("new settings are in force") > before)
        await wait_for(lambda: len(self.live.children()) == self.workers)

    def now(self) -> float:
        """The gateway's clock."""
        return time.time() + self.offset_ns / 1e9

    def jump(self, seconds: float) -> None:
        """Put the gateway's clock forward, or back."""
        assert self.faults is not None
        self.offset_ns += int(seconds * 1e9)
        self.faults.set("clock_offset_ns", self.offset_ns)

    async def verify(self) -> str:
        """`gateway audit verify`, by the gateway's clock."""
        return await asyncio.to_thread(lambda: self.live.run("audit", "verify", env=self.variables))


async def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    ends = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < ends, "this did not happen in time"
        await asyncio.sleep(0.02)
