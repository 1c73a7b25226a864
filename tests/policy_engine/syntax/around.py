"""The surroundings of the texts in cases/*.yaml, by the name of a text's field (see test_cases.py)."""

from __future__ import annotations

AROUND = {
    "term": "package t\np := {}",
    "body": "package t\np if {{\n{}\n}}",
    "logic": "package t\nimport future.keywords\np if {{\n{}\n}}",
    "rules": "package t\n{}",
    "module": "{}",
}
