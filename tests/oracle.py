"""The reference implementation as an oracle: any query, answered by the real OPA.

Tests ask it what the language means, in two modes. Strict is the `opa_bindings` package as it is: it always turns a
builtin's error into the query's error. Default mode, where such an error is undefined, is a temporary copy of its
library with one flag's assignment overwritten (see `_patched`).

Either may also compile as strictly as `opa check --strict` does, in another such copy.

Each mode runs in a child process of its own: two Go runtimes do not share a process well, and a crash or a hang of the
oracle must not take the test run along. Without the package (it is no dependency of the product) `Oracle` raises
`OracleUnavailable`, and the tests skip.

Answers are JSON as the binding decodes it, numbers as floats and sets as lists. To see number text and sets,
ask for a template string of the value: `$"{[x]}"` (`Oracle.call` does).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from policy_engine.values import UNDEFINED, Set, Value, dumps, sorted_items

_GO_SETTINGS: Final = {"GOMAXPROCS": "1", "GOGC": "400"}
"""There is one query at a time: threads and thrift only cost time."""

_SECONDS: Final = 60.0
"""The time that OPA may think about one query."""


class _Patch(NamedTuple):
    """Machine code of one function that is replaced by other code of the same length."""

    symbol: bytes
    within: int
    """The distance from the function's beginning within which the code is looked for."""
    before: bytes
    after: bytes


_DEFAULT_MODE: Final = _Patch(
    b"main.evalCommon.func1.StrictBuiltinErrors.3",
    4,
    bytes.fromhex("0fb64a08"),  # movzbl 8(%rdx), %ecx: read the option's value
    bytes.fromhex("31c99090"),  # xor %ecx, %ecx; nop; nop: the option is off
)
_STRICT_COMPILER: Final = _Patch(
    b"github.com/open-policy-agent/opa/v1/rego.New",
    4096,
    bytes.fromhex("0fb69120030000889068010000"),  # movzbl 0x320(%rcx), %edx; mov %dl, 0x168(%rax): copy the option
    bytes.fromhex("ba010000009090889068010000"),  # mov $1, %edx; nop; nop; mov %dl, 0x168(%rax): it is on
)


INSTALL: Final = "to compare with OPA, pip install --ignore-requires-python opa-golib-python-bindings"
"""The reason why tests are skipped, and how to run them."""


class OracleUnavailable(Exception):
    """OPA is not installed, or is not the build whose default mode can be patched in."""


@dataclass(frozen=True)
class Answer:
    """OPA's answer: bindings, or an error's code and message (without its place); and what the policy printed."""

    bindings: list[dict[str, Any]] = field(default_factory=list)
    code: str = ""
    message: str = ""
    prints: list[str] = field(default_factory=list)


class Oracle:
    """One OPA process. Use as a context manager, or call `close`."""

    def __init__(self, *, strict: bool = True, strict_compiler: bool = False) -> None:
        found = importlib.util.find_spec("opa_bindings")
        if found is None or found.origin is None:
            raise OracleUnavailable(INSTALL)
        library = Path(found.origin).parent / "libopabridge.so"
        self._directory: str | None = None
        patches = [*([] if strict else [_DEFAULT_MODE]), *([_STRICT_COMPILER] if strict_compiler else [])]
        if patches:
            self._directory = tempfile.mkdtemp(prefix="oracle-")
            try:
                library = _patched(library, Path(self._directory), patches)
            except BaseException:
                self._remove()
                raise
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("oracle_child.py")), str(library)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_GO_SETTINGS},
        )

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child and remove what belongs to it."""
        self._child.communicate()
        self._remove()

    def _remove(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def query(
        self,
        query: str,
        *,
        modules: dict[str, str] | None = None,
        data: Value = None,
        input: Value = UNDEFINED,  # noqa: A002  (the name it has in Rego)
    ) -> Answer:
        """Evaluate a query over modules, data and input (`UNDEFINED`: none; `None`: null)."""
        request = {
            "query": query,
            "modules": modules or {},
            "data": None if data is None else dumps(data),
            "input": "" if input is UNDEFINED else dumps(input),
        }
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        # One answer to each request, so nothing of the next one can hide in a buffer.
        ready, _, _ = select.select([self._child.stdout], [], [], _SECONDS)
        line = self._child.stdout.readline() if ready else ""
        if not line:
            self._child.kill()
            raise RuntimeError(f"OPA {'died' if ready else 'hangs'}; the query was {query!r}")
        return Answer(**json.loads(line))

    def call(self, name: str, *args: Value) -> Answer:
        """Call a builtin, the types of whose operands the compiler cannot see.

        The one binding is `text`: the result inside an array, as Rego text. No binding: undefined; several: a relation.
        """
        # `walk` yields values of any type, so this hides every operand's type, sets included. Inside a comprehension
        # nothing but the text is bound, so nothing else has to survive the way through JSON.
        hidden = f'walk({{"hidden": {rego_source(list(args))}}}, [["hidden"], args])'
        operands = ", ".join(f"args[{i}]" for i in range(len(args)))
        answer = self.query(f'texts := [text | {hidden}; x := {name}({operands}); text := $"{{[x]}}"]')
        texts = [{"text": text} for one in answer.bindings for text in one["texts"]]
        return Answer(texts, answer.code, answer.message, answer.prints)


def rego_source(value: Value) -> str:
    """A value as Rego source, for any parser to read."""
    if value.__class__ is list:
        return "[" + ", ".join(map(rego_source, value)) + "]"
    if value.__class__ is dict:
        return "{" + ", ".join(f"{rego_source(key)}: {rego_source(item)}" for key, item in sorted_items(value)) + "}"
    if value.__class__ is Set:
        return "{" + ", ".join(map(rego_source, value)) + "}" if value.members else "set()"
    return dumps(value)


@contextlib.contextmanager
def both_modes() -> Iterator[tuple[Oracle, Oracle]]:
    """A strict and a default oracle."""
    with Oracle() as strict, Oracle(strict=False) as default:
        yield strict, default


def _patched(library: Path, directory: Path, patches: list[_Patch]) -> Path:
    """A copy of the library with some of its code replaced.

    The binding hard-wires `rego.StrictBuiltinErrors(true)`, an option that is a closure over a boolean, and has no way
    to set `rego.Strict`, which is copied into the compiler.
    """
    image = bytearray(library.read_bytes())
    for patch in patches:
        start = _symbol_offset(image, patch.symbol)
        offset = -1 if start is None else image.find(patch.before, start, start + max(patch.within, len(patch.before)))
        if offset < 0:
            raise OracleUnavailable("this build of opa_bindings is not the one whose strict flags are known")
        image[offset : offset + len(patch.after)] = patch.after
    copy = directory / library.name
    copy.write_bytes(image)
    return copy


def _symbol_offset(image: bytes | bytearray, symbol: bytes) -> int | None:
    """The file offset of a function in a 64-bit little-endian ELF file."""
    if image[:6] != b"\x7fELF\x02\x01":
        return None
    table, entry_size, count = struct.unpack_from("<Q", image, 0x28)[0], *struct.unpack_from("<HH", image, 0x3A)
    # name, type, flags, address, offset, size, link, info, alignment, entry size
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + i * entry_size) for i in range(count)]
    for kind, start, size, link in ((s[1], s[4], s[5], s[6]) for s in sections):
        if kind != 2:  # SHT_SYMTAB
            continue
        names = sections[link][4]
        name = image.find(b"\0" + symbol + b"\0", names, names + sections[link][5]) + 1 - names
        for at in range(start, start + size, 24):
            st_name, _, _, section, address, _ = struct.unpack_from("<IBBHQQ", image, at)
            if st_name == name > 0:
                return int(address - sections[section][3] + sections[section][4])
    return None
