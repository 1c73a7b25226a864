"""The words of other tools for the commands of this one: a word that is typed out of habit gets the command meant.

Letters are a bad guess for verbs: `create` is closest to `retire`.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import did_you_mean

_NEW: Final = ("register", "create", "add", "set", "new", "start", "login-provider")
_END: Final = ("remove", "revoke", "retire", "stop", "unbind", "erase-content")
_SHOWN: Final = ("show", "list", "status")
_LISTED: Final = ("list", "show", "status")
_CHANGED: Final = ("update", "set", "rotate", "rotate-key")
_PAUSED: Final = ("suspend", "stop")
_GOING_ON: Final = ("resume",)
_TRIED: Final = ("check", "test", "verify", "status", "decide")
_RUN: Final = ("up", "resume")

USUAL: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("create", "add", "new", "register", "make", "insert", "issue", "generate", "define"), _NEW),
    **dict.fromkeys(("start", "run", "serve", "server", "launch", "daemon", "boot"), _RUN),
    **dict.fromkeys(("delete", "del", "rm", "remove", "destroy", "drop", "unregister", "revoke", "purge"), _END),
    **dict.fromkeys(("ls", "list", "all", "index"), _LISTED),
    **dict.fromkeys(("show", "get", "describe", "view", "inspect", "info", "cat", "print", "details"), _SHOWN),
    **dict.fromkeys(("update", "edit", "change", "modify", "patch", "set", "rename", "replace", "put"), _CHANGED),
    **dict.fromkeys(("suspend", "disable", "pause", "block", "deactivate", "freeze", "halt", "kill", "ban"), _PAUSED),
    **dict.fromkeys(("resume", "enable", "unpause", "unblock", "activate", "reactivate", "unsuspend"), _GOING_ON),
    **dict.fromkeys(("test", "check", "ping", "try", "verify", "validate", "lint", "doctor"), _TRIED),
    **dict.fromkeys(("renew", "roll", "regenerate", "refresh", "rotate"), ("rotate", "rotate-key", "update")),
    **dict.fromkeys(("setup", "install", "bootstrap"), ("init",)),
    **dict.fromkeys(("health", "ps", "state"), ("status",)),
    **dict.fromkeys(("attach", "assign", "allow", "grant"), ("bind",)),
    **dict.fromkeys(("detach", "unassign"), ("unbind",)),
    **dict.fromkeys(("sync", "import", "load", "deploy"), ("apply",)),
    **dict.fromkeys(("dump", "save"), ("export", "backup")),
    **dict.fromkeys(("why", "debug", "trace"), ("explain",)),
    **dict.fromkeys(("signin", "auth", "authenticate"), ("login",)),
    **dict.fromkeys(("log", "logs", "events", "history"), ("history", "audit")),
    **dict.fromkeys(("provider", "providers", "backend", "backends", "models"), ("upstreams",)),
    **dict.fromkeys(("user", "users", "admin", "admins", "members"), ("operators",)),
    **dict.fromkeys(("tenant", "tenants", "organization", "organizations", "workspace", "workspaces"), ("orgs",)),
    **dict.fromkeys(("budget", "budgets", "quota", "quotas", "rate-limit"), ("limits",)),
    **dict.fromkeys(("cost", "costs", "spend", "billing"), ("usage", "prices")),
    **dict.fromkeys(("group", "groups"), ("teams",)),
    **dict.fromkeys(("rules", "bundle", "bundles"), ("policies",)),
}
"""A word, and the commands that may be meant by it, the likeliest first."""

_OF_NOUNS: Final = (_NEW, _END, _SHOWN, _LISTED, _CHANGED, _PAUSED)

_ELSEWHERE: Final = {
    ("bindings", _NEW): "type `gateway bind AGENT BUNDLE`",
    ("bindings", _END): "type `gateway unbind AGENT BUNDLE`",
    ("upstreams", _CHANGED): "type `gateway upstreams add NAME --replace …`",
}
"""Words that another noun, or an option, stands for."""


def meant(word: str, group: Any) -> str:
    """A hint for a word that is no command of `group`; empty if there is nothing to say."""
    usual = USUAL.get(word.casefold(), ())
    if (found := _ELSEWHERE.get((group.name, usual))) is not None:
        return found
    there = [each for each in usual if each in group.commands]
    if "agents" not in group.commands or usual not in _OF_NOUNS:
        if there:
            # To end something has several ways, which are not the same.
            likely = there[:2] if usual is _END else there[:1]
            return f"did you mean {' or '.join(repr(each) for each in likely)}?"
    elif verbs := [each for each in usual if each in group.commands["agents"].commands]:
        return f"the noun comes first, such as `gateway agents {verbs[0]}`"
    return did_you_mean(word, group.commands).replace("`", "'")
