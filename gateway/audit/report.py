"""The result of a verification as plain data, and the exit code that it means. `verify.py` fills it in.

One entry that is missing or cannot be read makes balances, counts and other entries wrong, too. Those findings are its
consequences: they are kept apart from the causes, and a person only needs their number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.audit.decision import State

VALID: Final = "valid"
TAMPERED: Final = "tampered"
INCOMPLETE: Final = "incomplete"

EXIT_CODES: Final = {VALID: 0, TAMPERED: 1, INCOMPLETE: 3}  # 2 is a usage error

MAX_FINDINGS: Final = 100  # kept one by one; further ones are only counted


@dataclass(frozen=True, slots=True)
class LogFault:
    """A fault that only a damaged log has. `index` is the entry concerned, or the first of several."""

    origin: str
    index: int | None
    message: str
    # Its subject in the plural if it may be a consequence of another one: "balances".
    about: str = ""

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        return f"{where}{'' if self.index is None else f'entry {self.index}: '}{self.message}"


@dataclass(frozen=True, slots=True)
class OpenDecision:
    """A decision that is not closed. If its process lives, the request is under way; otherwise recovery is due."""

    event_id: str
    index: int
    boot: str
    alive: bool | None
    """None if the live processes are not known, as for a copy of the log."""


@dataclass(slots=True)
class LogReport:
    """One log: its size, and how much of it is signed."""

    origin: str
    organization: str
    size: int = 0
    signed: int = 0
    checkpoints: int = 0
    decisions: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    """The numbers of decisions by state."""
    open: list[OpenDecision] = field(default_factory=list)

    @property
    def unsigned(self) -> int:
        """The number of entries after the last checkpoint."""
        return self.size - self.signed


@dataclass(slots=True)
class Report:
    """The whole database. `more_findings` counts those beyond the first `MAX_FINDINGS`, and so with `consequences`."""

    public_key: str
    logs: list[LogReport] = field(default_factory=list)
    findings: list[LogFault] = field(default_factory=list)
    more_findings: int = 0
    consequences: list[LogFault] = field(default_factory=list)
    more_consequences: int = 0
    entries: int = 0
    private_rows: int = 0

    def add(self, finding: LogFault) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.more_findings += 1

    def follow(self, finding: LogFault) -> None:
        """Add a consequence of a finding."""
        if len(self.consequences) < MAX_FINDINGS:
            self.consequences.append(finding)
        else:
            self.more_consequences += 1

    @property
    def status(self) -> str:
        if self.findings:
            return TAMPERED
        if any(log.unsigned or not all(each.alive for each in log.open) for log in self.logs):
            return INCOMPLETE
        return VALID

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    def document(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"status": self.status, **asdict(self)}
