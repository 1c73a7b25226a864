"""`gateway audit verify --reexecute`: every decision of a log, judged again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from gateway.audit.log_files import opened_log
from gateway.cli import output
from gateway.data_directory import DataDirectory
from gateway.processes import local

_PAGE = 500
_SHOWN = 20


@dataclass(slots=True)
class Decisions:
    """The outcome: how many agree, how many cannot be compared and why, and those that were decided otherwise."""

    agree: int = 0
    apart: Counter[str] = field(default_factory=Counter)
    otherwise: list[tuple[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 if any was decided otherwise, 2 if there are some and none could be compared, else 0."""
        return 1 if self.otherwise else 2 if self.apart and not self.agree else 0

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        otherwise = [{"id": event_id, "problem": problem} for event_id, problem in self.otherwise]
        return {"agree": self.agree, "apart": dict(self.apart), "otherwise": otherwise}


def judged_again(database: DataDirectory | Path, data: DataDirectory) -> Decisions:
    """Judge every decision of a log again, with bundles and keys from the data directory."""
    from gateway.audit import lookup, search
    from gateway.control import kept_requests
    from gateway.policy.reexecution import Court
    from gateway.secrets.vault import Vault

    complete = kept_requests.completing(lambda: local.reading(data.path), lambda: Vault.load(data.keys))
    court, found = Court(data.bundles), Decisions()
    position = 0
    with opened_log(database) as db, output.progress("judging again") as progress:
        last = search.last_position(db)
        while page := lookup.decided_after(db, position, _PAGE):
            for decided, document in page:
                agrees, problem = court.again(decided.entry, complete(db, decided, document))
                if agrees:
                    found.agree += 1
                elif agrees is None:
                    found.apart[problem] += 1
                else:
                    found.otherwise.append((decided.event_id, problem))
            position = page[-1][0].position
            if progress is not None:
                progress(position, last)
    return found


def print_decisions(decisions: Decisions) -> None:
    agree = f"{decisions.agree:,} {'decision' if decisions.agree == 1 else 'decisions'}"
    if decisions.exit_code == 2:
        typer.echo(typer.style("!", fg="yellow") + " no decision could be judged again")
    elif not decisions.otherwise:
        typer.echo(typer.style("✓", fg="green") + f" {agree} judged again, with the recorded verdict")
    for event_id, problem in decisions.otherwise[:_SHOWN]:
        typer.echo(typer.style("✗", fg="red") + f" {event_id}: {output.printable(problem)}")
    if decisions.otherwise:
        count = len(decisions.otherwise)
        mark = typer.style("✗", fg="red")
        typer.echo(f"{mark} {count:,} decided otherwise than the policies say, {agree} as they say")
    for problem, count in decisions.apart.most_common():
        typer.echo(typer.style("!", fg="yellow") + f" {count:,} cannot be compared: {output.printable(problem)}")
    if any("there is no bundle" in problem for problem in decisions.apart):
        output.note("name a directory whose `bundles/` has them with --data; `gateway backup` copies them with the log")
