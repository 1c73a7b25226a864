"""The same decision over more and more rules, data or input: does its cost grow with what it does not look at?"""

from __future__ import annotations

from typing import Any

from benchmarks.policy.workload import Cedar, Document, Kind, Workload, context, fixed


def rules(number: int) -> str:
    """Rules that differ in their constants only."""
    lines = [f'allow if {{ input.role == "r{i}"; input.action == "a{i}" }}' for i in range(number)]
    return "\n".join(["default allow := false", *lines])


def _rules(number: int) -> Workload:
    pairs = {f"r{i}": f"a{i}" for i in range(number)}

    def policies() -> str:
        return "\n".join(
            f'permit(principal, action, resource) when {{ context.role == "{role}" && context.action == "{action}" }};'
            for role, action in pairs.items()
        )

    return Workload(
        f"{number:,} rules",
        Kind.GROWING,
        lambda: rules(number),
        fixed({"role": f"r{number // 2}", "action": f"a{number // 2}"}),
        True,
        lambda data: lambda value: pairs.get(value["role"]) == value["action"],
        cedar=Cedar(policies, context),
        series="rules",
        size=number,
    )


def _prefixes(number: int) -> Workload:
    def first(data: Document) -> Any:
        # Nobody writes an index of prefixes by hand for a list of paths.
        prefixes = tuple(f"/service{i}/" for i in range(number))
        return lambda value: value["path"].startswith(prefixes)

    return Workload(
        f"{number:,} prefixes",
        Kind.GROWING,
        lambda: "\n".join(
            ["default allow := false", *(f'allow if startswith(input.path, "/service{i}/")' for i in range(number))]
        ),
        fixed({"path": f"/service{number // 2}/items"}),
        True,
        first,
        cedar=Cedar(
            lambda: "\n".join(
                f'permit(principal, action, resource) when {{ context.path like "/service{i}/*" }};'
                for i in range(number)
            ),
            context,
        ),
        series="prefixes",
        size=number,
    )


def grants(number: int) -> list[dict[str, str]]:
    return [{"user": f"u{i}", "action": f"a{i % 7}"} for i in range(number)]


SEARCH = "default allow := false\nallow if { some g in data.grants; g.user == input.user; g.action == input.action }"


def granted(data: Document) -> Any:
    known = {(grant["user"], grant["action"]) for grant in data["grants"]}
    return lambda value: (value["user"], value["action"]) in known


def _grants(number: int) -> Workload:
    half = number // 2

    def entities() -> list[dict[str, Any]]:
        # Cedar's way to say it: who is granted an action is in that action's group.
        return [
            {"uid": {"type": "User", "id": g["user"]}, "attrs": {}, "parents": [{"type": "Grant", "id": g["action"]}]}
            for g in grants(number)
        ]

    def request(value: Any) -> dict[str, Any]:
        principal, resource = {"type": "User", "id": value["user"]}, {"type": "Grant", "id": value["action"]}
        return {"principal": principal, "action": 'Action::"ask"', "resource": resource, "context": {}}

    return Workload(
        f"search {number:,} grants",
        Kind.GROWING,
        fixed(SEARCH),
        fixed({"user": f"u{half}", "action": f"a{half % 7}"}),
        True,
        granted,
        data=lambda: {"grants": grants(number)},
        cedar=Cedar(fixed("permit(principal, action, resource) when { principal in resource };"), request, entities),
        series="grants",
        size=number,
    )


def _users(number: int) -> Workload:
    def by_hand(data: Document) -> Any:
        return lambda value: "admin" in data["roles"].get(value["user"], ())

    return Workload(
        f"look up among {number:,} users",
        Kind.GROWING,
        fixed('default allow := false\nallow if { some role in data.roles[input.user]; role == "admin" }'),
        fixed({"user": f"u{number // 2}"}),
        True,
        by_hand,
        data=lambda: {"roles": {f"u{i}": ["reader", "admin"] for i in range(number)}},
        series="users",
        size=number,
    )


MESSAGES = """default allow := false
allow if { every m in input.messages { m.role in {"user", "assistant"}; m.size <= 1000 } }"""


def _messages(number: int) -> Workload:
    def by_hand(data: Document) -> Any:
        return lambda value: all(m["role"] in {"user", "assistant"} and m["size"] <= 1000 for m in value["messages"])

    return Workload(
        f"{number:,} messages",
        Kind.GROWING,
        fixed(MESSAGES),
        lambda: {"messages": [{"role": ("user", "assistant")[i % 2], "size": i % 1000} for i in range(number)]},
        True,
        by_hand,
        series="messages",
        size=number,
    )


TITLES = {
    "rules": "Rules that differ in a constant",
    "prefixes": "Rules that differ in a prefix",
    "grants": "Grants searched for user and action",
    "users": "Users whose roles are looked up",
    "messages": "Messages of the input that are all looked at",
}
"""The title of each curve; the horizontal axis counts it."""

WORKLOADS = [
    *(_rules(number) for number in (10, 100, 2_000, 10_000)),
    *(_prefixes(number) for number in (10, 200, 2_000)),
    *(_grants(number) for number in (100, 1_000, 10_000, 100_000, 1_000_000)),
    *(_users(number) for number in (100, 10_000, 1_000_000)),
    *(_messages(number) for number in (1, 10, 100, 1_000, 10_000)),
]
