"""The one error family of the engine.

    PolicyError
    ├── (compile time)  rego_parse_error, rego_compile_error, rego_type_error, rego_unsafe_var_error,
    │                   rego_recursion_error, bundle_error, bundle_signature_error
    └── (evaluation)    eval_conflict_error, eval_builtin_error, eval_type_error, eval_internal_error,
                        eval_cancel_error (deadline, work or output budget), invalid_input

Codes are OPA's (v1/ast/errors.go, v1/topdown/errors.go) where OPA has one. Texts start in lower case and end without a
period, so that they can stand inside a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from policy_engine.location import Location

PARSE_ERROR = "rego_parse_error"
COMPILE_ERROR = "rego_compile_error"
TYPE_ERROR = "rego_type_error"
UNSAFE_VAR_ERROR = "rego_unsafe_var_error"
RECURSION_ERROR = "rego_recursion_error"
BUNDLE_ERROR = "bundle_error"
SIGNATURE_ERROR = "bundle_signature_error"

EVAL_CONFLICT_ERROR = "eval_conflict_error"
EVAL_BUILTIN_ERROR = "eval_builtin_error"
EVAL_TYPE_ERROR = "eval_type_error"
EVAL_INTERNAL_ERROR = "eval_internal_error"
EVAL_CANCEL_ERROR = "eval_cancel_error"
INVALID_INPUT = "invalid_input"

MAX_ERRORS = 10
"""So many are listed, as in OPA."""
LIMIT_REACHED = "error limit reached"


class PolicyError(Exception):
    """A policy cannot be loaded, or a decision cannot be made.

    `code` is a stable string (see the module docstring), `message` one line for a person, `location` where in the
    policy, `errors` every error found, sorted by location (just itself if there is one), and `hint` what to do next
    where that is not obvious ("" otherwise).
    """

    def __init__(
        self,
        code: str,
        message: str,
        location: Location | None = None,
        *,
        hint: str = "",
        errors: Iterable[PolicyError] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.location = location
        self.hint = hint
        # Not `(self,)` for a single error: an error that refers to itself keeps what its traceback refers to, which is
        # all that a decision has built, until the next run of the garbage collector.
        self._several = tuple(errors)

    @property
    def errors(self) -> tuple[PolicyError, ...]:
        return self._several or (self,)

    def __str__(self) -> str:
        """`authz.rego:4: eval_type_error: count: operand 1 must be …`; of several, one a line under a count."""
        if len(self.errors) > 1:
            lines = "\n".join(str(error) for error in self.errors)
            return f"{len(self.errors)} errors occurred:\n{lines}"
        where = f"{self.location}: " if self.location and (self.location.row or self.location.file) else ""
        return f"{where}{self.code}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries (policy tests run in children); the default would lose the keywords.
        return _rebuild, (self.code, self.message, self.location, self.hint, self._several)


def _rebuild(
    code: str, message: str, location: Location | None, hint: str, errors: tuple[PolicyError, ...]
) -> PolicyError:
    return PolicyError(code, message, location, hint=hint, errors=errors)


def combine(errors: Iterable[PolicyError]) -> PolicyError:
    """One error out of several: sorted by file, row and column, cut after `MAX_ERRORS`. `errors` is not empty."""
    given = [single for error in errors for single in error.errors]
    flat = [single for single in given if single.message != LIMIT_REACHED]
    flat.sort(key=lambda error: (error.location or Location(), error.message))
    first = flat[0]
    if len(flat) == 1:
        return first
    if len(flat) > MAX_ERRORS or len(given) > len(flat):
        flat = [*flat[:MAX_ERRORS], PolicyError(COMPILE_ERROR, LIMIT_REACHED)]
    return PolicyError(first.code, first.message, first.location, hint=first.hint, errors=flat)


@contextmanager
def depth_refused() -> Iterator[None]:
    """For what recurses over a policy: that it is too deep is an error of the policy."""
    try:
        yield
    except RecursionError:
        raise PolicyError(
            COMPILE_ERROR, "the policy is nested too deeply", hint="give parts of it names of their own"
        ) from None


class BuiltinError(Exception):
    """Raised by a builtin's implementation; evaluation turns it into undefined or, under strict, a `PolicyError`.

    `message` starts with the builtin's name ("count: operand 1 must be …"). `code` is `EVAL_TYPE_ERROR` for operands
    of a wrong type and `EVAL_BUILTIN_ERROR` for everything else.
    """

    def __init__(self, message: str, code: str = EVAL_BUILTIN_ERROR) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
