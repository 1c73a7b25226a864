"""The command line in this process, as in the tests of commands."""

from tests.gateway.cli.conftest import at

__all__ = ["at"]
