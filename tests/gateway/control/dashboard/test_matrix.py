"""Each page and each form, for each role, from each wrong place, and about what is another organization's.

The rows are found by following links (`matrix.py`), so a page that is added is in here without an edit.
"""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest

from gateway.control.dashboard import entrance, pages
from gateway.control.dashboard.app import HEADERS
from gateway.control.dashboard.sessions import BrowserOrigin, Cookies
from gateway.identity.operator_roles import ROLES
from gateway.registry import emergency_stops
from gateway.registry.operators import operators
from tests.gateway.conftest import ACTOR
from tests.gateway.control.dashboard import matrix
from tests.gateway.control.dashboard.conftest import Person, Served, text_of
from tests.gateway.control.dashboard.matrix import Found, Visits
from tests.gateway.control.dashboard.test_pages import Things, both
from tests.gateway.control.test_everybody import EVERYBODYS, may, writes

__all__ = ["both"]

FROM_ELSEWHERE = (
    ({"csrf": "LEFT OUT"}, {}, "csrf"),
    ({"csrf": ""}, {}, "csrf"),
    ({"csrf": "0" * 64}, {}, "csrf"),
    ({"csrf": "ANOTHER SESSION'S"}, {}, "csrf"),
    ({}, {"origin": "https://evil.example"}, "cross_site"),
    ({}, {"origin": "null"}, "cross_site"),
    ({}, {"sec_fetch_site": "cross-site"}, "cross_site"),
    ({}, {"sec_fetch_site": "same-site"}, "cross_site"),
    ({}, {"content_type": "text/plain"}, "unsupported_media_type"),
    ({}, {"content_type": "application/json"}, "unsupported_media_type"),
)
"""Changes that no page of ours has sent: fields, headers, and the code of the refusal."""


@pytest.fixture
def found(served: Served, both: dict[str, Things]) -> dict[str, Found]:
    """The pages and forms of the organization acme, while it and the whole gateway are stopped."""
    for organization in ("acme", None):
        emergency_stops.stop(served.home.registry, actor=ACTOR, organization=organization, reason="mark-of-acme")
    return matrix.crawl(served.person("olga"), "acme")


def strict(answer: httpx.Response) -> httpx.Response:
    """No answer may be framed, run a script of its own or lead away, whatever it says."""
    for name, value in HEADERS:
        assert answer.headers[name] == value, answer.url
    assert answer.headers["cache-control"] == "no-store", answer.url
    assert answer.headers.get("location", "/dashboard/").startswith("/dashboard/"), answer.url
    return answer


def visit(person: Person, visits: Visits, each: Found) -> httpx.Response:
    visits.clear()
    answer = strict(person.get(each.address))
    assert bool(visits.asked) or not each.page.path, f"{each.address} is shown, and no operation was asked if it may be"
    return answer


def asked_as(role: str, organization: str, visits: Visits) -> None:
    """Each operation that a page has asked was carried out if the role has the right, and refused if it has not."""
    for each in visits.asked:
        wants = f"{role} of {organization}: {each.operation.where} answered {each.status}"
        whole = each.operation.path.startswith(EVERYBODYS)
        assert each.organization in (None, organization), wants
        assert (each.status != 403) == (may(role, each.operation, writes(each.operation)) and not whole), wants


def roles(served: Served, both: dict[str, Things], found: dict[str, Found], names: tuple[str, ...]) -> None:
    visits = matrix.watch(served)
    shown = [each for each in found.values() if not each.page.changes]
    theirs = both["default"]
    for role in names:
        person = served.person(role, role, "acme")
        for each in shown:
            answer = visit(person, visits, each)
            asked_as(role, "acme", visits)
            refused = 403 in [asked.status for asked in visits.asked]
            own = 404 if "sessions/{token}" in each.page.path else 200
            if each.page.everywhere and "{" in each.page.path and answer.status_code == 404:
                own = 404  # what the whole gateway has is none of this organization's
            assert answer.status_code in ((403, 200) if refused else (own, 303)), (role, each.address)
            assert "mark-of-default" not in answer.text, (role, each.address)
            if each.page.everywhere:
                continue
            visits.clear()
            foreign = person.get(each.about(organization="default").address)
            assert (foreign.status_code, "unknown_organization" in foreign.text) == (404, True), each.address
            assert visits.asked == []  # before anything is looked up
            inside = each.about(**theirs.names())
            if inside != each:
                answer = strict(person.get(inside.address))
                assert answer.status_code in (403, 404), (role, inside.address)
                assert "mark-of-default" not in answer.text, (role, inside.address)
        for address in matrix.links(person.page("/dashboard/o/acme")).links:
            assert person.get(address).status_code in (200, 303), (role, address)  # no link is offered in vain


@pytest.mark.slow
def test_every_page_is_found_and_is_for_viewers_what_its_operations_are(
    served: Served, both: dict[str, Things], found: dict[str, Found]
) -> None:
    """If one is not found, no link leads to it, or `both` has nothing that it can show."""
    missing = set(pages.PAGES) - {each.page for each in found.values()}
    assert sorted((each.path, each.changes) for each in missing) == []
    roles(served, both, found, ("viewer",))


@pytest.mark.slow
def test_pages_for_each_role(served: Served, both: dict[str, Things], found: dict[str, Found]) -> None:
    roles(served, both, found, ROLES)


def forms(found: dict[str, Found]) -> list[Found]:
    return [each for each in found.values() if each.page.changes and each.page.path != "logout"]


def elsewhere(served: Served, found: dict[str, Found], cases: tuple[int, ...]) -> None:
    person, other = served.person("owner", "owner", "acme"), served.person("mallory", "owner", "acme")
    mine, others = (each.csrf(each.page("/dashboard/organizations")) for each in (person, other))
    before = matrix.rows(served)
    for each in [*forms(found), *(each for each in found.values() if each.name == "POST /logout")]:
        for fields, headers, code in (FROM_ELSEWHERE[case] for case in cases):
            given = {**each.fields, "other": "field", "csrf": mine, **fields}
            if given["csrf"].startswith("ANOTHER"):
                given["csrf"] = others
            answer = strict(person.post(each.address, given, **headers))
            assert answer.status_code == (415 if code.startswith("un") else 403), (each.name, fields, headers)
            assert code in answer.text
        # A link changes nothing, whatever it carries.
        query = urlencode({**each.fields, "csrf": mine})
        assert strict(person.get(f"{each.address}?{query}")).status_code in (200, 403, 404), each.name
    assert person.get("/dashboard/o/acme").status_code == 200
    assert {name for name, here in matrix.rows(served).items() if here != before[name]} == set()


@pytest.mark.slow
def test_forms_for_each_role_and_from_elsewhere(
    served: Served, both: dict[str, Things], found: dict[str, Found]
) -> None:
    """Nobody changes anything without the right, nor anything of another organization."""
    elsewhere(served, found, (0, 6))
    people = {role: served.person(f"one-{role}", role, "acme") for role in ("viewer", "auditor", "owner")}
    tokens = {role: person.csrf(person.page("/dashboard/organizations")) for role, person in people.items()}
    visits = matrix.watch(served)
    before = matrix.rows(served)
    for each in forms(found):
        filled = {name: text or "3" for name, text in each.fields.items()}
        for role in ("viewer", "auditor"):
            visits.clear()
            answer = strict(people[role].post(each.address, {**filled, "csrf": tokens[role]}))
            # Sessions are everybody's own, so that of another operator is none.
            status = 404 if each.page.path.startswith("sessions") else 403
            if each.page.everywhere and "{" in each.page.path and answer.status_code == 404:
                status = 404  # what the whole gateway has is none of this organization's
            assert answer.status_code == status, (role, each.name, text_of(answer.text)[-300:])
            asked_as(role, "acme", visits)
        person, filled = people["owner"], {**filled, "csrf": tokens["owner"]}
        visits.clear()
        if each.page.everywhere:
            continue
        assert person.post(each.about(organization="default").address, filled).status_code == 404, each.name
        assert visits.asked == []
        if (inside := each.about(**both["default"].names())) != each:
            answer = strict(person.post(inside.address, filled))
            unknown = answer.status_code == 422 and "unknown_" in answer.text  # it is named in a body
            assert answer.status_code in (403, 404) or unknown, (each.name, text_of(answer.text)[-300:])
    assert {name for name, here in matrix.rows(served).items() if here != before[name]} == set()


@pytest.mark.slow
def test_each_change_from_elsewhere(served: Served, found: dict[str, Found]) -> None:
    elsewhere(served, found, tuple(range(len(FROM_ELSEWHERE))))


@pytest.fixture
def wrong_sessions(served: Served, both: dict[str, Things]) -> list[Person]:
    """Browsers without a session, with one that somebody chose, of another origin, that has ended, and with a token."""
    ended = served.person("ended", "owner", "acme")
    kept = ended.http.cookies["aig_session"]
    ended.post("/dashboard/logout")
    made = operators.create_token(
        served.home.registry, served.home.peppers, actor=ACTOR, organization="acme", operator="ended"
    )
    place = BrowserOrigin("http://127.0.0.1:1")
    sealed = Cookies(served.home.peppers.current).begin(place, made.text).partition(";")[0].partition("=")[2]
    people = [served.stranger()]
    for text in ("chosen", sealed, kept, made.text):
        person = served.stranger()
        person.http.cookies.set("aig_session", text, domain="127.0.0.1", path="/")
        people.append(person)
    return people


@pytest.mark.slow
def test_without_a_session_each_page_leads_to_the_login(
    served: Served, wrong_sessions: list[Person], found: dict[str, Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        served.api._gate._failures, "_most", 10_000
    )  # else most of them would be refused for the first ones
    visits = matrix.watch(served)
    before = matrix.rows(served)
    for number, each in enumerate(found.values()):
        # One of them for each page: that of the next page is the next one.
        person = wrong_sessions[number % len(wrong_sessions)]
        brought = dict(person.http.cookies)
        if each.page.changes:
            answer = strict(person.post(each.address, {**each.fields, "csrf": "x"}))
            assert (answer.status_code, "session_ended" in answer.text) == (401, True), each.name
        else:
            answer = strict(person.get(each.address))
            assert answer.status_code == 303, each.name
            assert answer.headers["location"].startswith("/dashboard/login"), each.name
        given = answer.headers.get("set-cookie", "")
        assert not given or "Max-Age=0" in given, each.name  # nobody is given a session for looking
        for name, text in brought.items():
            person.http.cookies.set(name, text, domain="127.0.0.1", path="/")
    assert visits.asked == []
    assert {name for name, here in matrix.rows(served).items() if here != before[name]} == set()


@pytest.mark.slow
def test_no_other_site_logs_anybody_in(served: Served) -> None:
    """A form elsewhere that sends its reader's browser through a way in would give it the session of somebody else."""
    link = served.link(served.operator("mallory"))
    for path, changes in entrance.WAYS:
        for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
            if changes:
                answer = served.stranger().post(path, {"link": link, "csrf": "", "provider": "x"}, **headers)
                assert (strict(answer).status_code, "cross_site" in answer.text) == (403, True), path
        if not changes:
            assert "set-cookie" not in strict(served.stranger().get(path, link=link, code="x", state="y")).headers
    served.enter(served.stranger(), served.operator("olga"))


@pytest.mark.slow
def test_a_session_of_pages_opens_no_operation(served: Served) -> None:
    """So no form of another site reaches one by the cookie that the browser adds."""
    person = served.person("olga")
    origin = str(person.http.base_url)
    bearer = {"authorization": f"Bearer {person.http.cookies['aig_session']}"}
    for number, each in enumerate(each for each in matrix.EVERY if not each.public):
        path = f"{origin}/api/v1{each.path}".replace("{", "").replace("}", "")
        if number % 5 == 0:  # an address may fail ten times in a minute, so it is let in in between
            assert person.get("/dashboard/o/default").status_code == 200
        answer = person.http.request(each.method, path, data={"x": "y"} if each.method != "GET" else None)
        assert answer.status_code in (401, 429), each.where
        assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
    assert person.http.get("/api/v1/agents", headers=bearer).status_code in (401, 429)
