"""A Rego engine: policies compiled to Python.

    import policy_engine as pe

    policies = pe.compile({"authz.rego": source}, data={…})
    allow = policies.entrypoint("data.authz.allow")
    allow({"user": "alice"})        # a JSON value, or pe.UNDEFINED

Importing this is cheap; the parser and heavy builtins load when they are first needed.
"""

from policy_engine.bundle import load
from policy_engine.bundle_signatures import BundleKey
from policy_engine.codegen.context import Limits
from policy_engine.engine import Decision, Entrypoint, Policies, PreparedQuery, compile, parse_value  # noqa: A004
from policy_engine.errors import PolicyError
from policy_engine.explanation import Explanation, Failed, RuleOutcome
from policy_engine.facts import Facts
from policy_engine.location import Location
from policy_engine.values import UNDEFINED, Number, Set, check, dumps, loads

__all__ = [
    "UNDEFINED",
    "BundleKey",
    "Decision",
    "Entrypoint",
    "Explanation",
    "Facts",
    "Failed",
    "Limits",
    "Location",
    "Number",
    "Policies",
    "PolicyError",
    "PreparedQuery",
    "RuleOutcome",
    "Set",
    "check",
    "compile",
    "dumps",
    "load",
    "loads",
    "parse_value",
]
