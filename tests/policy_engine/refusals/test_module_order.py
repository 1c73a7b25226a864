"""Files count in the order of their names, however they are given."""

from __future__ import annotations

import pytest

import policy_engine as pe

USER = "package t\nq(1) if data.u.p.a"
OBJECT = 'package u\np["b"] if input\np[{}] := 1'
"""`p.a` can only be what `p[{}]` defines, unless `p["b"]` is typed before it is looked at."""


def test_order_of_names() -> None:
    for modules in ({"a.rego": USER, "b.rego": OBJECT}, {"b.rego": OBJECT, "a.rego": USER}):
        with pytest.raises(pe.PolicyError, match=r"undefined ref: data\.u\.p\.a"):
            pe.compile(modules)
    pe.compile({"b.rego": USER, "a.rego": OBJECT})
