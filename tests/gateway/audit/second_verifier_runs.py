"""Random manipulations of a log, judged by both verifiers: `python -m tests.gateway.audit.second_verifier_runs`."""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.audit import verify
from tests.gateway.audit import second_verifier
from tests.gateway.audit.conftest import Log, Make

COLUMNS = {
    "log": ("organization", "epoch", "origin", "size", "frontier", "time_ns"),
    "entry": ("log_id", "seq", "event_id", "kind", "time_ns", "agent", "leaf"),
    "tile": ("level", "number", "hashes"),
    "checkpoint": ("size", "note"),
    "private": ("salt", "input"),
    "open_decision": ("boot", "agent", "reservation", "log_id"),
}


def filled(path: Path) -> Log:
    """A signed log with closed and open decisions, private rows and two organizations."""
    log = Log(path)
    writer = log.writer()
    for number in range(300):
        call = Make.decided(agent=f"agt_{number % 4}")
        writer.write_sync(call)
        if number % 50:
            writer.write_sync(Make.completed(call))
        if number % 25 == 0:
            writer.write_sync(Make.change(organization="acme"))
        if number % 100 == 99:
            log.sign()
    writer.close()
    log.sign()
    return log


def manipulate(path: Path, chance: random.Random) -> str:
    """Change something, or sometimes nothing, as somebody who can write to the file could."""
    with closing(sqlite3.connect(path)) as db:
        if chance.random() < 0.1:
            return "nothing"
        table = chance.choice(list(COLUMNS))
        key = "event_id" if table == "open_decision" else "rowid"
        if table == "checkpoint":
            key = "log_id * 1000000 + size"
        rows = [each for (each,) in db.execute(f"SELECT {key} FROM {table}")]
        row, act = chance.choice(rows), chance.choice(("delete", "change", "change", "change", "swap"))
        column = chance.choice(COLUMNS[table])
        try:
            if act == "delete":
                db.execute(f"DELETE FROM {table} WHERE {key} = ?", (row,))
            else:
                query = f"SELECT {column} FROM {table} WHERE {key} = ?"
                (value,) = db.execute(query, (row,)).fetchone()
                other = (
                    db.execute(query, (chance.choice(rows),)).fetchone()[0] if act == "swap" else changed(value, chance)
                )
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (other, row))
            db.commit()
        except sqlite3.Error as error:
            return f"nothing: {error}"
        return f"{act} {table}.{column} of {row}"


def changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 1000))
    if isinstance(value, bytes) and value:
        at = chance.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]
    if isinstance(value, str) and value:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice("abcxyz019") + value[at + 1 :]
    return "something"


def differences(directory: Path, rounds: int, seed: int) -> tuple[list[str], int]:
    """Manipulations about which the two verifiers disagree, and how many both have found."""
    log = filled(directory / "data")
    copy, found, both = directory / "copy.db", [], 0
    log.close()
    with closing(sqlite3.connect(log.data.audit_db)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(rounds):
        chance = random.Random(seed * 1_000_000 + number)
        shutil.copyfile(log.data.audit_db, copy)
        said = manipulate(copy, chance)
        for each in ("-wal", "-shm"):
            copy.with_name(copy.name + each).unlink(missing_ok=True)
        first = verify.verify(copy, log.verifier).status == "tampered"
        second = second_verifier.problems(copy, str(log.verifier))
        both += first and bool(second)
        if first != bool(second):
            found.append(f"{seed}/{number} {said}: the product {'finds it' if first else 'passes it'}, {second[:2]}")
    return found, both


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=500)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found, both = differences(Path(directory), given.rounds, given.seed)
    print(*found, sep="\n")
    print(f"{given.rounds} manipulations, {both} found by both, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
