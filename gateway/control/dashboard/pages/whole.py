"""The whole gateway: its operators, organizations, and the providers where operators log in, with their rules."""

from __future__ import annotations

from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, pages_of
from gateway.control.dashboard.door import View
from gateway.control.dashboard.pages import operators
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table


async def show(view: View) -> Found:
    # Refused to operators of one organization.
    found = await view.get_all("login-providers", cursor=view.query.get("providers"), limit=tables.size(view))
    staff = await operators.table(view)
    providers = Table.of(
        view,
        found,
        [
            Column("Name", "name", href=lambda each: view.place("login-providers", each["name"])),
            Column("Issuer", "issuer", "code"),
            Column("Client", "client_id", "code", narrow=False),
            Column("Rules", "rules", "number"),
            Column("A login lasts (h)", lambda each: each["session_seconds"] / 3600, "number", narrow=False),
        ],
        name="login-providers",
        command=["operators", "login-provider", "list"],
        of_organization=False,
        alone=False,
        parameter="providers",
        empty="There is none, so people get in by links of `gateway dashboard` and by tokens. Add one.",
    )
    changes = view.may("operators", write=True)
    actions = [
        *([(view.place("operators", "new"), "Add an operator")] if changes else []),
        *([(view.place("login-providers", "new"), "Add a login provider")] if changes else []),
        *([(view.place("organizations", "new"), "Create an organization")]
          if view.may("organizations", write=True) else []),
        (view.place("organizations"), "Organizations"),
        (view.place("stops"), "Emergency stops"),
    ]  # fmt: skip
    shown = [("Operators of the whole gateway", staff), ("Login providers", providers)]
    return listing.page(view, "Gateway", "", shown, actions=actions)


async def provider(view: View) -> Found:
    name = view.path["provider"]
    found = await view.get_all("login-providers", name)
    rules = await view.get_all(
        "login-providers", name, "rules", cursor=view.query.get("cursor"), limit=tables.size(view)
    )
    changes = view.may("operators", write=True)
    columns = [
        Column("Claims", lambda each: [f"{a}={b}" for a, b in each["claims"].items()], "lines"),
        Column("Role", "role"),
        Column("Operators of", lambda each: each["organization"] or "the whole gateway"),
        Column("Since", "created", "time", narrow=False),
        Column("Id", "id", "id", narrow=False),
    ]
    if changes:
        columns.append(
            Column(
                "",
                lambda _each: "Remove",
                "act",
                lambda each: view.place("login-providers", name, "rules", each["id"], "remove"),
            )
        )
    table = Table.of(
        view,
        rules,
        columns,
        name="login-rules",
        command=["operators", "login-rule", "list", name],
        of_organization=False,
        empty="It lets nobody in. Add a rule: which claims a person must have, and which role that gives.",
    )
    where = ("rules/new", "Add a rule"), ("change", "Change"), ("remove", "Remove")
    actions = [(view.place("login-providers", name, *path.split("/")), title) for path, title in where]
    notes = [("", f"{found['issuer']} calls the gateway {found['client_id']}.")]
    crumb = (view.place("gateway"), "Gateway")
    title = f"Login provider {found['name']}"
    return listing.page(
        view, title, "", [("Rules", table)], crumb=crumb, notes=notes, actions=actions if changes else []
    )


_ALL: Final[dict[str, Any]] = {"section": "", "everywhere": True}
_ONE: Final[dict[str, Any]] = {
    **_ALL,
    "reads": "login-providers/{provider}",
    "back": "login-providers/{provider}",
}
_SECRET: Final = Input(
    name="client_secret", type="password", hint="Of a confidential client; it is sealed. Empty: a public client."
)
_HOURS: Final = Input(name="session_seconds", title="A login lasts (minutes)", hint="5 to 1440.", times=60, value="480")

_FORMS: Final = [
    Form(
        "organizations/new",
        "POST /organizations",
        title="Create an organization",
        verb="Create",
        back="gateway",
        says=["Its agents, policies, limits and logs are its own. Operators of it see no other."],
        asks=["name", "reason"],
        command=["orgs", "create", "NAME"],
        **_ALL,
    ),
    Form(
        "login-providers/new",
        "POST /login-providers",
        title="Add a login provider",
        verb="Add",
        back="gateway",
        says=["It lets nobody in before there is a rule. Register the address /dashboard/callback there."],
        asks=[
            "name",
            "issuer",
            "client_id",
            _SECRET,
            Input(name="scopes", hint="What else it is asked for, such as groups."),
            _HOURS,
            "insecure",
            "reason",
        ],
        command=["operators", "login-provider", "add", "NAME", "--issuer", "URL", "--client-id", "ID"],
        **_ALL,
    ),
    Form(
        "login-providers/{provider}/change",
        "PATCH /login-providers/{provider}",
        title="Change login provider {name}",
        verb="Change",
        says=["It holds for logins from now on. Those before go on as they are."],
        asks=["client_id", Input(name="scopes", hint="What else it is asked for."), _HOURS, "reason"],
        command=["operators", "login-provider", "update", "{name}", "--client-id", "{client_id}"],
        **_ONE,
    ),
    Form(
        "login-providers/{provider}/remove",
        "DELETE /login-providers/{provider}",
        title="Remove login provider {name}",
        verb="Remove",
        says=["Nobody logs in there any more. Its rules go, and the logins that it gave end at once, maybe yours."],
        asks=["reason"],
        command=["operators", "login-provider", "remove", "{name}"],
        danger=True,
        **{**_ONE, "back": "gateway"},
    ),
    Form(
        "login-providers/{provider}/rules/new",
        "POST /login-providers/{provider}/rules",
        title="A rule of {name}",
        verb="Add",
        says=["People who have all these claims are let in, as operators with this role."],
        asks=[
            Input(name="claims", hint="One a line, NAME=VALUE, such as groups=staff."),
            Input(name="role", value="viewer"),
            Input(name="organization", hint="Of which they are operators; empty: of the whole gateway."),
            "reason",
        ],
        command=["operators", "login-rule", "add", "{name}", "--role", "viewer", "--claim", "groups=staff"],
        **_ONE,
    ),
    Form(
        "login-providers/{provider}/rules/{rule}/remove",
        "DELETE /login-providers/{provider}/rules/{rule}",
        title="Remove a rule of {provider}",
        verb="Remove",
        says=["The logins that the rule for {claims} has let in end at once, maybe yours."],
        asks=["reason"],
        command=["operators", "login-rule", "remove", "{id}"],
        danger=True,
        **{**_ONE, "reads": "login-providers/{provider}/rules/{rule}"},
    ),
]

PAGES = [
    ShownPage("gateway", show, everywhere=True),
    ShownPage("login-providers/{provider}", provider, everywhere=True),
    *pages_of(_FORMS),
]
