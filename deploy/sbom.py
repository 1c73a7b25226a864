"""Make `sbom.cdx.json`, the CycloneDX list of what the extra `gateway` consists of, from `requirements.txt`.

Run it after that file has changed: `python deploy/sbom.py`. It installs the packages, with their digests, and the tool
that reads them into environments that it throws away. `tests/test_packaging.py` compares the two files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOL = "cyclonedx-bom>=7.5,<8"


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        packages, tool = Path(place) / "packages", Path(place) / "tool"
        for each in (packages, tool):
            venv.create(each, with_pip=True)
        install(packages, "--require-hashes", "-r", str(HERE / "requirements.txt"))
        install(tool, TOOL)
        subprocess.run([packages / "bin/pip", "uninstall", "-q", "-y", "pip", "setuptools"], check=True)
        command = [tool / "bin/cyclonedx-py", "environment", packages / "bin/python", "--output-reproducible"]
        command += ["--pyproject", HERE.parent / "pyproject.toml", "--mc-type", "application", "--spec-version", "1.6"]
        document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for each in document["components"]:
        # Addresses that a package gives of itself change without the package.
        each.pop("externalReferences", None)
    del document["metadata"]["tools"]
    (HERE / "sbom.cdx.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


def install(environment: Path, *what: str) -> None:
    subprocess.run([environment / "bin/pip", "install", "-q", *what], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
