"""A gateway's write load on a log, as a process that tests can kill: decisions are opened and closed without end.

    load.py DATA CLIENTS BOOT

Prints `ready`, then the id of every entry once it has been acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from gateway.audit.intents import Completed, Decided
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id


async def client(writer: AuditWriter, stop: asyncio.Event) -> None:
    while not stop.is_set():
        decision = Decided(
            organization="default",
            event_id=new_id("dec"),
            agent="agt_one",
            key="key_one",
            allow=True,
            reason="allowed",
            open=True,
            private=b"{}",
        )
        closing = Completed(
            organization="default", decision_id=decision.event_id, agent="agt_one", outcome="ok", status=200
        )
        for intent in (decision, closing):
            committed = await writer.write(intent)
            os.write(1, f"{committed.event_id}\n".encode())


async def main(data: str, clients: str, boot: str) -> None:
    writer = AuditWriter(DataDirectory(Path(data)), boot=boot, deployment="test")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(client(writer, stop)) for _ in range(int(clients))]
    os.write(1, b"ready\n")
    await asyncio.gather(*tasks)
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
