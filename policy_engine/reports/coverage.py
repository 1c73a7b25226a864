"""Coverage in the formats of `opa test --coverage`, lcov (geninfo(1)) and Cobertura (coverage-04.dtd)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from xml.etree import ElementTree

from policy_engine.reports.formats import json_text
from policy_engine.testing.coverage import Coverage, document, files, percentage


def as_json(coverages: Sequence[Coverage]) -> str:
    return json_text(document(coverages))


def lcov(coverages: Sequence[Coverage]) -> str:
    """A record for each file, with a count of 0 or 1 for each line."""
    lines: list[str] = []
    for file, hit, missed in files(coverages):
        counts = [f"DA:{row},{int(row in hit)}" for row in sorted(hit | missed)]
        lines += ["TN:", f"SF:{file}", *counts, f"LF:{len(counts)}", f"LH:{len(hit)}", "end_of_record"]
    return "".join(f"{line}\n" for line in lines)


def cobertura(coverages: Sequence[Coverage]) -> str:
    """One package, with a class for each file. There are no branches."""
    covered = sum(len(hit) for _, hit, _ in files(coverages))
    valid = covered + sum(len(missed) for _, _, missed in files(coverages))
    rate = f"{percentage(coverages) / 100:.4f}"
    no_branches = {"branch-rate": "0", "complexity": "0"}
    totals = {"line-rate": rate, "lines-covered": str(covered), "lines-valid": str(valid), **no_branches}
    about = {"branches-covered": "0", "branches-valid": "0", "version": "1", "timestamp": str(int(time.time()))}
    root = ElementTree.Element("coverage", {**totals, **about})
    ElementTree.SubElement(ElementTree.SubElement(root, "sources"), "source").text = "."
    packages = ElementTree.SubElement(root, "packages")
    package = ElementTree.SubElement(packages, "package", {"name": "policies", "line-rate": rate, **no_branches})
    classes = ElementTree.SubElement(package, "classes")
    for file, hit, missed in files(coverages):
        own = {"name": file, "filename": file, "line-rate": f"{len(hit) / (len(hit | missed) or 1):.4f}", **no_branches}
        found = ElementTree.SubElement(classes, "class", own)
        ElementTree.SubElement(found, "methods")
        lines = ElementTree.SubElement(found, "lines")
        for row in sorted(hit | missed):
            ElementTree.SubElement(lines, "line", {"number": str(row), "hits": str(int(row in hit))})
    ElementTree.indent(root)
    doctype = '<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">'
    return f'<?xml version="1.0" ?>\n{doctype}\n{ElementTree.tostring(root, encoding="unicode")}\n'
