"""What verification found: plain data, and how grave it is. Who finds it is in `verify.py`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.audit.decision import State

VALID: Final = "valid"
TAMPERED: Final = "tampered"
INCOMPLETE: Final = "incomplete"

EXIT_CODES: Final = {VALID: 0, TAMPERED: 1, INCOMPLETE: 3}  # 2 is a usage error

MAX_FINDINGS: Final = 100  # named one by one; the rest is counted


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that no undisturbed log contains. `index` is the entry concerned, the first one of several."""

    origin: str
    index: int | None
    message: str

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        return f"{where}{'' if self.index is None else f'entry {self.index}: '}{self.message}"


@dataclass(frozen=True, slots=True)
class OpenDecision:
    """A decision that has not been closed. Of a live process it is a request on its way; otherwise recovery is due."""

    event_id: str
    index: int
    boot: str
    alive: bool | None
    """None if it is not known which processes are alive, as with a copy of the log."""


@dataclass(slots=True)
class LogReport:
    """One log: how far it was read, and how far it is signed."""

    origin: str
    organization: str
    size: int = 0
    signed: int = 0
    checkpoints: int = 0
    decisions: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    """How many decisions are in which state."""
    open: list[OpenDecision] = field(default_factory=list)

    @property
    def unsigned(self) -> int:
        """Entries after the last checkpoint: they are in the tree, but nobody has vouched for it yet."""
        return self.size - self.signed


@dataclass(slots=True)
class Report:
    """The whole database. `more_findings` counts those beyond the first `MAX_FINDINGS`."""

    public_key: str
    logs: list[LogReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0
    entries: int = 0
    private_rows: int = 0

    def add(self, finding: Finding) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.more_findings += 1

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
