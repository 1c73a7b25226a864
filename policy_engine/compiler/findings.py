"""What is wrong with names, and which of it is said: OPA looks for one kind of mistakes after the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from policy_engine.compiler import undeclared
from policy_engine.compiler.undeclared import Arity, Shown
from policy_engine.errors import PolicyError


@dataclass(slots=True)
class Findings:
    """Errors by what they are about, in the order in which OPA looks; only the first kind that has any is reported."""

    facts: list[PolicyError] = field(default_factory=list)
    references: list[PolicyError] = field(default_factory=list)
    roots: list[PolicyError] = field(default_factory=list)
    imports: list[PolicyError] = field(default_factory=list)
    locals: list[PolicyError] = field(default_factory=list)
    templates: list[PolicyError] = field(default_factory=list)
    void: list[PolicyError] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    """The clauses that have a template string or print something: that all is bound there remains to be found."""

    def first(self, arity: Arity) -> list[PolicyError]:
        """What is reported. `arity` is how many operands a function takes that is called."""
        named = next(filter(None, (self.facts, self.references, self.roots, self.imports, self.locals)), [])
        return (
            named
            or [*self.templates, *undeclared.in_templates(self.shown, arity)]
            or self.void
            or undeclared.in_prints(self.shown, arity)
        )
