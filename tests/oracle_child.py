"""The child process of `oracle.Oracle`: one JSON request a line on stdin, one JSON answer a line on stdout.

Argument: the library to load. Imports nothing of this project.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from opa_bindings import _native, engine

QUERIES_PER_ENGINE: Final = 2000
"""The binding keeps every distinct query it has prepared; a fresh engine forgets them."""

EVAL_ERROR: Final = re.compile(r"(eval_\w+_error): ", re.ASCII)


def serve() -> None:
    """Answer until stdin ends."""
    opa, queries, loaded = None, 0, None
    for line in sys.stdin:
        request = json.loads(line)
        context = (request["modules"], request["data"])
        try:
            if opa is None or context != loaded or queries >= QUERIES_PER_ENGINE:
                loaded = None
                opa, queries = new_engine(request), 0
                loaded = context
            queries += 1
            # Below `eval_query`, which cannot tell a null input from none.
            text, document = request["query"].encode(), request["input"].encode()
            result = opa._call(opa._lib.OpaEvalQuery, text, document, 0, 0)
            bindings = [row.get("bindings", {}) for row in result.get("result") or []]
            prints = [printed["message"] for printed in result.get("prints") or []]
            answer: dict[str, Any] = {"bindings": bindings, "prints": prints}
        except engine.OpaError as error:
            parts = EVAL_ERROR.split(error.message, maxsplit=1)
            code, message = (parts[1], parts[2]) if len(parts) == 3 else (error.code, error.message)
            answer = {"code": code, "message": message}
        except ValueError as error:
            # Some of OPA's numbers are no JSON (`to_number("+1")`).
            answer = {"code": "not_json", "message": str(error)}
        print(json.dumps(answer), flush=True)


def new_engine(request: dict[str, Any]) -> engine.OpaEngine:
    """An engine with the request's modules and data."""
    opa = engine.OpaEngine()
    for name, source in request["modules"].items():
        opa.add_policy(name, source)
    if request["data"] is not None:
        opa._call(opa._lib.OpaAddData, b"", request["data"].encode())
    return opa


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    _native._LIB_PATH = Path(sys.argv[1])
    serve()
