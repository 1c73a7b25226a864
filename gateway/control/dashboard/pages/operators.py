"""Operators with their roles, tokens and sessions: those of an organization, and those of the whole gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, once, pages_of, verbs
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table

_ROLES: Final = "owner: everything; admin: all but operators and keys; auditor: reads all; viewer: reads, but no log."


def words(view: View, *said: str) -> list[str]:
    """A command about operators of the page's organization, or of the whole gateway."""
    return [*said, *(["--org", view.home] if view.home is not None else [])]


async def table(view: View) -> Table:
    found = await view.get_all(
        "operators", organization=view.home, cursor=view.query.get("cursor"), limit=tables.size(view)
    )
    return Table.of(
        view,
        found,
        [
            Column("Name", "name", href=lambda each: view.place("operators", each["id"])),
            Column("Role", "role"),
            Column("State", "status", "badge"),
            Column("Logs in at", "issuer", narrow=False),
            Column("Since", "since", "time", narrow=False),
            Column("Id", "id", "id", narrow=False),
        ],
        name="operators",
        command=words(view, "operators", "list"),
        of_organization=False,
        empty="There are no operators of its own here. Add one, who can then be given a token.",
    )


def tokens(view: View, found: Any, where: str, said: list[str]) -> Table:
    def revoke(each: Mapping[str, Any]) -> str | None:
        return view.place(where, each["id"], "revoke") if each["status"] == "active" else None

    columns = [
        Column("Token", "token_id", "id"),
        Column("Kind", "kind"),
        Column("State", "status", "badge"),
        Column("Made", "created", "time"),
        Column("Ends", "expires", "time", narrow=False),
        Column("For", lambda each: each["scopes"] or ["everything"], "list", narrow=False),
        Column("", lambda each: "End" if revoke(each) else None, "act", revoke),
    ]
    return Table.of(
        view, found, columns, name="tokens", command=said, of_organization=False, empty="There are no tokens."
    )


async def one(view: View) -> Found:
    name, home = view.path["operator"], view.home
    found = await view.get_all("operators", name, organization=home)
    cursor = view.query.get("cursor")
    listed = await view.get_all("operators", name, "tokens", organization=home, cursor=cursor, limit=tables.size(view))
    held = tokens(view, listed, "tokens", words(view, "operators", "token", "list", found["name"]))
    versions = await view.get_all("operators", name, "versions", organization=home, limit=100)
    history = Table.of(
        view,
        versions["items"][::-1],
        [
            Column("Version", "version", "number"),
            Column("Since", "since", "time"),
            Column("Role", "role"),
            Column("State", "status", "badge"),
            Column("By", "actor", narrow=False),
            Column("Reason", "reason", narrow=False),
        ],
        name="versions",
        command=words(view, "operators", "show", found["name"]),
        of_organization=False,
        alone=False,
        empty="",
    )
    actions = []
    if view.may("operators", write=True):
        offered = {
            "active": [("tokens", "Create a token"), ("role", "Another role"), ("do/revoke", "Revoke")],
            "revoked": [("do/readmit", "Let in again")] if found["issuer"] else [],
        }.get(found["status"], [])
        actions = [(view.place("operators", found["id"], *path.split("/")), title) for path, title in offered]
    crumb = (view.link("organization"), "Organization") if home is not None else (view.place("gateway"), "Gateway")
    notes = [("plain", f"{found['role']}, {found['status']}")]
    shown = [("Tokens and sessions", held), ("History", history)]
    return listing.page(view, found["name"], "organization", shown, crumb=crumb, notes=notes, actions=actions)


def _forms(everywhere: bool) -> list[Form]:
    """The forms about operators of an organization, or of the whole gateway."""
    home = "gateway" if everywhere else "organization"
    common: dict[str, Any] = {"section": "organization", "everywhere": everywhere}
    operator: dict[str, Any] = {**common, "reads": "operators/{operator}", "back": "operators/{operator}"}
    return [
        Form(
            "operators/new",
            "POST /operators",
            title="Add an operator",
            verb="Add",
            back=home,
            says=["An operator can do nothing yet: create a token for it then. Who logs in at a provider needs none."],
            asks=["name", Input(name="role", hint=_ROLES, value="viewer"), "reason"],
            command=["operators", "add", "NAME", "--role", "viewer"],
            **common,
        ),
        Form(
            "operators/{operator}/role",
            "PATCH /operators/{operator}",
            title="Another role for {name}",
            verb="Give it",
            says=["It holds from the operator's next request on, for all its tokens and sessions. It is {role} now."],
            asks=[Input(name="role", hint=_ROLES), "reason"],
            command=["operators", "update", "{name}", "--role", "viewer"],
            **operator,
        ),
        Form(
            "operators/{operator}/tokens",
            "POST /operators/{operator}/tokens",
            title="A token for {name}",
            verb="Create",
            says=[
                "Whoever has the token may do what the operator may. It is shown once.",
                "It ends before your session does. One that lasts longer is made by the command.",
            ],
            asks=[
                Input(name="expires_in", title="Hours", hint="", times=3600, value="8", required=True),
                Input(name="scopes", title="Only for", hint="Such as read, agents:write; empty: for everything."),
                "reason",
            ],
            command=["operators", "token", "create", "{name}"],
            after=once("token", "token", "operators/{operator}"),
            **operator,
        ),
        Form(
            "tokens/{token}/revoke",
            "POST /operator-tokens/{token}/revoke",
            title="End {token_id}",
            verb="End it",
            reads="operator-tokens/{token}",
            back="operators/{operator_id}",
            says=["The token or session ends, for good, from the next request on. Yours may be among them."],
            asks=["reason"],
            command=["operators", "token", "revoke", "{token_id}"],
            danger=True,
            **common,
        ),
    ]


def _pages(everywhere: bool) -> list[ShownPage]:
    operator: dict[str, Any] = {
        "section": "organization",
        "everywhere": everywhere,
        "reads": "operators/{operator}",
        "back": "operators/{operator}",
    }
    acts = {
        "revoke": Form(
            "operators/{operator}/do/{verb}",
            "POST /operators/{operator}/revoke",
            title="Revoke {name}",
            verb="Revoke",
            says=[
                "The operator and all its tokens and sessions end, for good, from the next request on.",
                "A person who logs in at a provider is not let in any more, until it is readmitted.",
            ],
            asks=["reason"],
            command=["operators", "revoke", "{name}"],
            danger=True,
            **operator,
        ),
        "readmit": Form(
            "operators/{operator}/do/{verb}",
            "POST /operators/{operator}/readmit",
            title="Let {name} in again",
            verb="Let in",
            says=["The next login of this person makes a new operator, if a rule lets it in."],
            asks=["reason"],
            command=["operators", "readmit", "{name}"],
            **operator,
        ),
    }
    return [
        ShownPage("operators/{operator}", one, everywhere=everywhere),
        *verbs("operators/{operator}/do/{verb}", acts),
        *pages_of(_forms(everywhere)),
    ]


PAGES = [*_pages(False), *_pages(True)]
