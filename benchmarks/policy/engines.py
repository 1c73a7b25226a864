"""The engines, each asked in its fastest way from Python: one class an engine, all of one shape.

A caller has a dict and wants a Python value back. If an engine takes JSON text, encoding the input is part of its
cost (orjson does it), and so is decoding the answer. Everything that can be prepared once is prepared: compiled
programs, bundles, parsed entities.
"""

from __future__ import annotations

import importlib.metadata
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import orjson

import policy_engine as pe
from benchmarks.policy.workload import UNDEFINED, Workload

Ask = Callable[[Any], Any]
Document = dict[str, Any]
NOTHING: Any = pe.UNDEFINED
"""The answer of every `Ask` for an undefined document."""


class Unable(Exception):
    """An engine is not installed, or cannot do what a workload needs. The text says which."""


class Engine(ABC):
    """The way in which one engine is asked. Making one imports what it needs, or raises `Unable`."""

    name: ClassVar[str]
    distribution: ClassVar[str]

    def version(self) -> str:
        return importlib.metadata.version(self.distribution)

    @abstractmethod
    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        """The policy over the data, ready to be asked."""

    def keep(self, work: Workload, module: str, data: Document, directory: Path) -> Callable[[], Ask]:
        """Compile, keep the result in `directory`, and give a function that is ready again from there."""
        raise Unable("keeps nothing on disk")

    def replacing(self, work: Workload, module: str, data: Document) -> Callable[[Document], Ask]:
        """A function that puts other data under the same policy. A peer without such a call begins anew."""
        return lambda new: self.prepare(work, module, new)

    def text(self, answer: Any) -> str:
        """The answer as canonical JSON text. Numbers keep the text that the engine gave them."""
        return UNDEFINED if answer is NOTHING else canonical(answer)


class Ours(Engine):
    """This engine: a dict in, a Python value out."""

    name = "ours"
    distribution = "agent-identity-gateway"

    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        return pe.compile({"w.rego": f"package w\n{module}"}, data).entrypoint(f"data.{work.path}")

    def keep(self, work: Workload, module: str, data: Document, directory: Path) -> Callable[[], Ask]:
        def restore() -> Ask:
            policies = pe.compile({"w.rego": f"package w\n{module}"}, data, cache=directory)
            return policies.entrypoint(f"data.{work.path}")

        restore()
        return restore

    def replacing(self, work: Workload, module: str, data: Document) -> Callable[[Document], Ask]:
        policies = pe.compile({"w.rego": f"package w\n{module}"}, data)
        return lambda new: policies.with_data(new).entrypoint(f"data.{work.path}")

    def text(self, answer: Any) -> str:
        return UNDEFINED if answer is NOTHING else pe.dumps(answer)


class ByHand(Engine):
    """The code that a Python programmer would write instead of the policy."""

    name = "by hand"
    distribution = ""

    def version(self) -> str:
        return ""

    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        if work.by_hand is None:
            raise Unable("nobody would")
        return work.by_hand(data)


class Opa(Engine):
    """OPA in this process, as a Go library. It always evaluates strictly and keeps a query's plan."""

    name = "OPA"
    distribution = "opa-golib-python-bindings"

    def __init__(self) -> None:
        try:
            from opa_bindings import OpaEngine
        except ImportError:
            raise Unable("pip install --ignore-requires-python opa-golib-python-bindings") from None
        self._engine = OpaEngine
        self._last: Any = None

    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        engine = self._loaded(module, data)
        query = f"x := data.{work.path}".encode()

        def ask(value: Any) -> Any:
            # Does what `eval_query` does, but for its slower JSON encoder.
            rows = engine._call(engine._lib.OpaEvalQuery, query, orjson.dumps(value), 0, 0)["result"]
            return rows[0]["bindings"]["x"] if rows else NOTHING

        return ask

    def marshalled(self, work: Workload, value: Any) -> str:
        """The last answer's text by OPA's own `json.marshal`: the reference that everything is compared with."""
        assert self._last is not None
        rows = self._last.eval_query(f"x := json.marshal(data.{work.path})", value)
        return str(rows[0]["x"]) if rows else UNDEFINED

    def _loaded(self, module: str, data: Document) -> Any:
        engine = self._last = self._engine()
        engine.add_policy("w.rego", f"package w\n{module}")
        engine._call(engine._lib.OpaAddData, b"", orjson.dumps(data))
        return engine


class RegoCpp(Engine):
    """rego-cpp: a bundle that was built for one entrypoint."""

    name = "rego-cpp"
    distribution = "regopy"

    def __init__(self) -> None:
        try:
            import regopy
        except ImportError:
            raise Unable("pip install regopy") from None
        self._peer = regopy

    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        interpreter, bundle = self._built(work, module, data)
        return self._asking(interpreter, bundle, work)

    def keep(self, work: Workload, module: str, data: Document, directory: Path) -> Callable[[], Ask]:
        interpreter, bundle = self._built(work, module, data)
        path = str(directory / "bundle.rbb")
        kind = self._peer.BundleFormat.Binary
        interpreter.save_bundle(path, bundle, kind)

        def restore() -> Ask:
            fresh = self._peer.Interpreter()
            return self._asking(fresh, fresh.load_bundle(path, kind), work)

        return restore

    def _built(self, work: Workload, module: str, data: Document) -> Any:
        interpreter = self._peer.Interpreter()
        interpreter.add_module("w", f"package w\n{module}")
        interpreter.add_data_json(orjson.dumps(data).decode())
        return interpreter, interpreter.build(None, [work.path.replace(".", "/")])

    def _asking(self, interpreter: Any, bundle: Any, work: Workload) -> Ask:
        document = self._peer.Input
        entrypoint = work.path.replace(".", "/")

        def ask(value: Any) -> Any:
            interpreter.set_input(document(value))
            output = interpreter.query_bundle_entrypoint(bundle, entrypoint)
            if not output.ok():
                raise Unable(f"fails: {output}")
            expressions = output.results[0].expressions
            return expressions[0] if expressions else NOTHING

        return ask


def _regorus() -> Any:
    """The module `regorus` of the distribution that gives right answers.

    Another one, `celine-regorus`, installs a module of the same name and reads Python's `True` as 1.
    """
    installed = {item.metadata["Name"] for item in importlib.metadata.distributions()}
    if "celine-regorus" in installed:
        raise Unable("celine-regorus is installed, which gives wrong answers: pip uninstall celine-regorus")
    if "gordon-to-regorus" not in installed:
        raise Unable("pip install gordon-to-regorus")
    import regorus

    return regorus


class Regorus(Engine):
    """regorus' interpreter."""

    name = "regorus"
    distribution = "gordon-to-regorus"

    def __init__(self) -> None:
        self._peer = _regorus()

    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        engine = self._loaded(module)
        engine.add_data_json(orjson.dumps(data).decode())
        return self._asking(engine, work)

    def replacing(self, work: Workload, module: str, data: Document) -> Callable[[Document], Ask]:
        engine = self._loaded(module)
        engine.add_data_json(orjson.dumps(data).decode())

        def replace(new: Document) -> Ask:
            engine.clear_data()
            engine.add_data_json(orjson.dumps(new).decode())
            return self._asking(engine, work)

        return replace

    def _loaded(self, module: str) -> Any:
        engine = self._peer.Engine()
        # Its limit for a policy's size is lower than what some workloads need.
        engine.clear_policy_length_config()
        engine.add_policy("w.rego", f"package w\nimport rego.v1\n{module}")
        return engine

    def _asking(self, engine: Any, work: Workload) -> Ask:
        path = f"data.{work.path}"
        whole = "." not in work.path

        def ask(value: Any) -> Any:
            engine.set_input_json(orjson.dumps(value).decode())  # half the time that `set_input(value)` takes
            if whole:
                return engine.eval_query(path)["result"][0]["expressions"][0]["value"]
            answer = engine.eval_rule(path)
            return sorted(answer) if isinstance(answer, set) else answer

        return ask

    def text(self, answer: Any) -> str:
        return UNDEFINED if answer is None or answer is NOTHING else canonical(answer)


class RegorusMachine(Engine):
    """regorus' register machine. It knows neither `with` nor `walk`."""

    name = "RVM"
    distribution = "gordon-to-regorus"

    def __init__(self) -> None:
        self._peer = _regorus()

    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        return self._asking(self._machine(self._compiled(work, module), data))

    def keep(self, work: Workload, module: str, data: Document, directory: Path) -> Callable[[], Ask]:
        path = directory / "program.rvm"
        path.write_bytes(bytes(self._compiled(work, module).serialize_binary()))

        def restore() -> Ask:
            found = self._peer.Program.deserialize_binary(path.read_bytes())
            # The program, and whether it came without its sources.
            return self._asking(self._machine(found[0] if isinstance(found, tuple) else found, data))

        return restore

    def replacing(self, work: Workload, module: str, data: Document) -> Callable[[Document], Ask]:
        machine = self._machine(self._compiled(work, module), data)

        def replace(new: Document) -> Ask:
            machine.set_data_json(orjson.dumps(new).decode())
            return self._asking(machine)

        return replace

    def _compiled(self, work: Workload, module: str) -> Any:
        modules = [("w.rego", f"package w\nimport rego.v1\n{module}")]
        return self._peer.Program.compile_from_modules("{}", modules, [f"data.{work.path}"])

    def _machine(self, program: Any, data: Document) -> Any:
        machine = self._peer.Rvm()
        machine.load_program(program)
        machine.set_data_json(orjson.dumps(data).decode())
        return machine

    def _asking(self, machine: Any) -> Ask:
        def ask(value: Any) -> Any:
            machine.set_input_json(orjson.dumps(value).decode())
            answer = machine.execute()
            return NOTHING if answer == '"<undefined>"' else orjson.loads(answer)

        return ask


class CedarEngine(Engine):
    """Cedar: another language, for the decisions that can be said in it."""

    name = "Cedar"
    distribution = "cedarpy"

    def __init__(self) -> None:
        try:
            import cedarpy
        except ImportError:
            raise Unable("pip install cedarpy") from None
        self._peer = cedarpy

    def prepare(self, work: Workload, module: str, data: Document) -> Ask:
        cedar = work.cedar
        if cedar is None:
            raise Unable("not sayable in Cedar, or not said")
        policies = self._peer.PolicySet.from_str(cedar.policies())
        entities = self._peer.Entities.from_json_str(orjson.dumps(cedar.entities()).decode())
        is_authorized, request = self._peer.is_authorized, cedar.request
        return lambda value: is_authorized(request(value), policies, entities).allowed


def canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Sets as sorted lists, which is what they are in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value))
    return [_plain(item) for item in value] if isinstance(value, list) else value


ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (ByHand, Ours, Opa, RegoCpp, Regorus, RegorusMachine, CedarEngine)
}
PEERS = [name for name in ENGINES if name not in (Ours.name, ByHand.name)]
