"""OPA's verdict on texts: does it parse? Asked in a child process, as in tests/oracle.py and for the same reasons.

    python verdicts.py t.rego < '["package a", …]' > '["", "t.rego:1: rego_parse_error: …", …]'

An answer is the message of the parse error, "" where there is none. OPA's compiler is not asked.
A module without a name has columns in its errors.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest


def opa_verdicts(sources: list[str], file: str = "t.rego") -> list[str]:
    """Skips the test where there is no OPA."""
    if importlib.util.find_spec("opa_bindings") is None:
        from tests.oracle import INSTALL  # not above: this file is also the child process, without the project's path

        pytest.skip(INSTALL)
    command = [sys.executable, __file__, file]
    done = subprocess.run(command, input=json.dumps(sources), capture_output=True, text=True, check=True, timeout=120)
    answers: list[str] = json.loads(done.stdout)
    return answers


def main() -> None:
    import opa_bindings

    answers = []
    for source in json.load(sys.stdin):
        engine = opa_bindings.OpaEngine()
        try:
            engine.add_policy(sys.argv[1], source)
            answers.append("")
        except opa_bindings.OpaError as error:
            answers.append(error.message if error.code == "parse_error" else "")
        finally:
            engine.close()
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
