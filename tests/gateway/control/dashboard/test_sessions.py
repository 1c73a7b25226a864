"""Sessions of browsers: how they begin and end, what they are worth, and what is refused around them."""

from __future__ import annotations

import html
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from gateway.audit import search
from gateway.audit import storage as audit_storage
from gateway.control.dashboard import sessions
from gateway.control.dashboard.app import HEADERS, MAX_VISITS, own_path
from gateway.control.dashboard.sessions import BrowserOrigin, Cookies
from gateway.control.problems import Problem
from gateway.registry import publication
from gateway.registry.operators import login_providers, operators
from tests.gateway.conftest import ACTOR, new_home
from tests.gateway.control.dashboard.conftest import Person, Served, serving, text_of
from tests.gateway.control.oidc_provider import CLIENT, Provider

HOME = "/dashboard/o/default"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, new_registry: Path) -> Iterator[Served]:
    """A gateway for tests that leave it as it is."""
    with new_home(tmp_path_factory.mktemp("place") / "gateway-data", new_registry) as home:
        audit_storage.create(home.data)
        with serving(home) as found:
            yield found


@pytest.fixture(scope="module")
def olga(place: Served) -> Person:
    return place.person("olga")


@pytest.fixture
def provider(served: Served) -> Iterator[Provider]:
    """Where people of one group log in."""
    found = Provider()
    found.start()
    registry = served.home.registry
    login_providers.add_provider(
        registry, served.home.vault, actor=ACTOR, issuer=found.url, insecure=True, name="acme", client_id=CLIENT
    )
    login_providers.add_rule(
        registry, actor=ACTOR, provider="acme", claims={"groups": "platform"}, role="admin", organization=None
    )
    yield found
    found.stop()


def test_a_link_begins_one_session(served: Served) -> None:
    person, link = served.stranger(), served.link(served.operator("olga"))
    assert person.get("/dashboard/").headers["location"] == "/dashboard/login"
    for _ in range(2):  # a program that looks at links uses none up
        shown = person.get("/dashboard/enter", link=link)
        assert (shown.status_code, "set-cookie" in shown.headers) == (200, False)
    used = person.post("/dashboard/enter", {"link": link, "csrf": ""})
    assert (used.status_code, used.headers["location"]) == (303, "/dashboard/")
    cookie = next(each for each in used.headers.get_list("set-cookie") if each.startswith("aig_session="))
    assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "aig_op_" not in cookie
    assert "olga" in person.page(HOME)
    again = served.stranger().post("/dashboard/enter", {"link": link, "csrf": ""})
    assert (again.status_code, "set-cookie" in again.headers) == (403, False)
    (token,) = operators.tokens(served.home.registry, None, "olga")
    assert (token.kind, token.scopes) == ("browser", None)
    publication.publish(served.home.registry, served.home.data)
    with closing(audit_storage.connect_read_only(served.home.data.audit_db)) as db:
        found = [dict(each.entry) for each in search.newest(db, 20) if each.kind == "change"]
    (entered,) = [each for each in found if each["what"] == "operator.logged_in"]
    assert (entered["token"], entered["reason"]) == (token.id, "link")


@pytest.mark.parametrize("link", ["", "x", "A" * 200, "A" * 5000])
def test_what_is_no_link_begins_nothing(place: Served, link: str) -> None:
    assert place.stranger().get("/dashboard/enter", link=link).status_code == 403
    assert place.stranger().post("/dashboard/enter", {"link": link, "csrf": ""}).status_code == 403


def test_an_old_link_and_one_of_a_revoked_operator_begin_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga = served.operator("olga")
    monkeypatch.setattr(sessions, "LINK_SECONDS", -1)
    old = served.link(olga)
    monkeypatch.undo()
    good = served.link(olga)
    operators.revoke_operator(served.home.registry, actor=ACTOR, organization=None, operator="olga")
    for link in (old, good):
        assert served.stranger().post("/dashboard/enter", {"link": link, "csrf": ""}).status_code == 403


def test_a_session_is_rotated_at_login_and_ends_at_logout(served: Served) -> None:
    olga = served.operator("olga")
    person = served.stranger()
    served.enter(person, olga)
    first = person.http.cookies["aig_session"]
    served.enter(person, olga)
    assert person.http.cookies["aig_session"] != first
    stolen = served.stranger()
    stolen.http.cookies["aig_session"] = first
    assert stolen.get(HOME).status_code == 303  # the one before has ended
    kept = person.http.cookies["aig_session"]
    left = person.post("/dashboard/logout")
    assert (left.status_code, left.headers["location"]) == (303, "/dashboard/login")
    assert "Max-Age=0" in left.headers["set-cookie"]
    stolen.http.cookies["aig_session"] = kept
    assert stolen.get(HOME).status_code == 303
    assert [each.status(2**62) for each in operators.tokens(served.home.registry, None, "olga")] == ["revoked"] * 2


def test_a_session_that_somebody_else_chose_is_none(served: Served) -> None:
    """Fixation: what a browser brings before the login is not what it has after it."""
    person = served.stranger()
    person.http.cookies.set("aig_session", "chosen", domain="127.0.0.1", path="/")
    served.enter(person, served.operator("olga"))
    assert "chosen" not in [each.value for each in person.http.cookies.jar]


@pytest.mark.parametrize(
    "other", ['x={"a":"b"}', 'x="open', "x[y]=1", "a b=c", "aig_session=none", "=", "x", '"', "aig_session"]
)
def test_cookies_of_other_programs_on_the_same_host_end_no_session(place: Served, olga: Person, other: str) -> None:
    mine = f"aig_session={olga.http.cookies['aig_session']}"
    for cookies in (f"{other}; {mine}", f"{mine}; {other}"):
        assert place.stranger().http.get(HOME, headers={"cookie": cookies}).status_code == 200, cookies


def test_what_happens_to_an_operator_counts_at_the_next_request(served: Served) -> None:
    person = served.person("vera", "admin")
    assert "Register an agent" in person.page(f"{HOME}/agents")
    registry = served.home.registry
    operators.update_operator(registry, actor=ACTOR, organization=None, operator="vera", role="viewer")
    assert "Register an agent" not in person.page(f"{HOME}/agents")
    operators.revoke_operator(registry, actor=ACTOR, organization=None, operator="vera")
    assert person.get(f"{HOME}/agents").headers["location"].startswith("/dashboard/login?next=")
    assert person.post("/dashboard/logout", {"csrf": "x"}).status_code == 401


def test_an_idle_session_ends_and_a_used_one_is_renewed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    person = served.person()
    before = person.http.cookies["aig_session"]
    person.page(HOME)
    assert person.http.cookies["aig_session"] == before
    monkeypatch.setattr(sessions, "_RENEW_SECONDS", 0)
    person.page(HOME)
    assert person.http.cookies["aig_session"] != before
    monkeypatch.setattr(sessions, "IDLE_SECONDS", -1)
    assert person.get(HOME).status_code == 303


def test_a_stream_of_events_keeps_no_session(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    person = served.person()
    monkeypatch.setattr(sessions, "IDLE_SECONDS", 2)
    with person.http.stream("GET", f"{HOME}/events") as stream:
        assert stream.status_code == 200
        for _ in stream.iter_raw():
            pass  # ends with the session, though the page stays open
    assert person.get(f"{HOME}/events").headers["location"].startswith("/dashboard/login")


def test_a_cookie_opens_no_api_and_a_token_no_page(served: Served) -> None:
    person = served.person()
    assert person.get("/api/v1/me").status_code == 401
    cookie = person.http.cookies["aig_session"]
    bearer = {"authorization": f"Bearer {cookie}"}
    assert served.stranger().http.get("/api/v1/me", headers=bearer).status_code == 401
    made = operators.create_token(
        served.home.registry, served.home.peppers, actor=ACTOR, organization=None, operator="olga"
    )
    other = served.stranger()
    other.http.cookies["aig_session"] = made.text
    assert other.get(HOME).status_code == 303
    assert other.http.get(HOME, headers={"authorization": f"Bearer {made.text}"}).status_code == 303


@pytest.mark.parametrize(
    ("fields", "headers", "code"),
    [
        ({"csrf": "LEFT OUT", "other": "field"}, {}, "csrf"),
        ({"csrf": ""}, {}, "csrf"),
        ({"csrf": "0" * 64}, {}, "csrf"),
        ({"csrf": "ü"}, {}, "csrf"),
        ({}, {"origin": "https://evil.example"}, "cross_site"),
        ({}, {"origin": "null"}, "cross_site"),
        ({}, {"sec_fetch_site": "cross-site"}, "cross_site"),
        ({}, {"sec_fetch_site": "same-site"}, "cross_site"),
        ({}, {"content_type": "text/plain"}, "unsupported_media_type"),
    ],
)
def test_a_change_from_elsewhere_is_refused(
    olga: Person, fields: dict[str, str], headers: dict[str, str], code: str
) -> None:
    answer = olga.post("/dashboard/logout", fields, **headers)
    assert answer.status_code in (403, 415)
    assert code in answer.text
    assert olga.get(HOME).status_code == 200


def test_the_token_of_another_session_is_refused(served: Served) -> None:
    olga, other = served.person("olga"), served.person("mallory")
    token = other.csrf(other.page(HOME))
    assert olga.post("/dashboard/logout", {"csrf": token}).status_code == 403
    assert olga.post("/dashboard/logout").status_code == 303


def test_every_answer_has_the_strict_policy(served: Served) -> None:
    person = served.person()
    nobody = served.stranger()
    paths = ["/dashboard/", HOME, "/dashboard/login", "/dashboard/nothing", "/dashboard/static/dashboard.css"]
    for answer in [each.get(path) for each in (person, nobody) for path in paths]:
        for name, value in HEADERS:
            assert answer.headers[name] == value, answer.url
        if "static" not in str(answer.url):
            assert answer.headers["cache-control"] == "no-store"
        assert "style=" not in answer.text or "static" in str(answer.url)
        assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/dashboard//evil.example",
            "javascript:alert(1)",
        ),
        *("/dashboardx", "/api/v1/", "/dashboard/\n/x", "/dashboard/\\x", "/dashboard/é", ""),
    ],
)
def test_a_login_leads_to_no_other_site(wanted: str) -> None:
    assert own_path(wanted) == "/dashboard/"


def test_a_login_leads_back_to_a_page_of_ours(served: Served) -> None:
    assert own_path("/dashboard/o/default/agents?status=active") == "/dashboard/o/default/agents?status=active"
    sent = served.stranger().get(f"{HOME}/agents", status="active")
    assert sent.headers["location"] == "/dashboard/login?" + urlencode({"next": f"{HOME}/agents?status=active"})


@pytest.mark.parametrize(
    ("host", "url", "origin"),
    [
        ("127.0.0.1:8081", "", "http://127.0.0.1:8081"),
        ("localhost", "", "http://localhost"),
        ("[::1]:8081", "", "http://[::1]:8081"),
        ("gw.example", "https://gw.example", "https://gw.example"),
        ("gw.example:8443", "https://gw.example:8443", "https://gw.example:8443"),
        ("gw.example", "", None),
        ("evil.example", "https://gw.example", None),
        ("203.0.113.5:8081", "", None),
        ("localhost.evil.example", "", None),
    ],
)
def test_plain_http_is_for_this_machine_alone(host: str, url: str, origin: str | None) -> None:
    scope = {"headers": [(b"host", host.encode())]}
    if origin is None:
        with pytest.raises(Problem, match="not served under this name"):
            BrowserOrigin.of(scope, url)
        return
    place = BrowserOrigin.of(scope, url)
    assert place.origin == origin
    cookie = Cookies(b"x" * 32).begin(place, "token")
    assert (cookie.startswith("__Host-aig_session="), "; Secure" in cookie) == (place.secure, place.secure)


def test_a_cookie_of_one_origin_is_none_of_another() -> None:
    cookies, here, there = Cookies(b"x" * 32), BrowserOrigin("http://127.0.0.1:1"), BrowserOrigin("http://127.0.0.1:2")
    cookie = cookies.begin(here, "token").partition(";")[0].encode()
    assert cookies.session({"headers": [(b"cookie", cookie)]}, here) is not None
    assert cookies.session({"headers": [(b"cookie", cookie)]}, there) is None


def test_a_person_logs_in_at_the_provider(served: Served, provider: Provider) -> None:
    person = served.stranger()
    wanted = f"{HOME}/agents?status=active"
    assert "Log in with acme" in person.page("/dashboard/login", next=wanted)
    left = person.post("/dashboard/login", {"provider": "acme", "next": wanted, "csrf": ""})
    (to,) = re.findall(r'href="(http[^"]+)"', left.text)
    back = httpx.get(html.unescape(to)).headers["location"]
    assert back.startswith(f"{served.url}/dashboard/callback?")
    other = served.stranger()
    assert other.get(back).status_code == 403  # a browser that has begun no login: its state is not that one's
    wrong = re.sub("state=[^&]+", "state=other", back)
    assert person.get(wrong).status_code == 403
    entered = person.get(back)
    assert (entered.status_code, entered.headers["location"]) == (303, wanted)
    assert "aig_op_" not in str(entered.headers)
    assert "olga" in person.page(wanted)
    assert person.get(back).status_code == 403  # the login has ended, and a code is good once
    (token,) = operators.tokens(served.home.registry, None, "olga")
    assert (token.kind, token.login_rule is not None) == ("browser", True)


def test_whoever_the_rules_do_not_name_is_not_let_in(served: Served, provider: Provider) -> None:
    provider.person["groups"] = ["others"]
    person = served.stranger()
    left = person.post("/dashboard/login", {"provider": "acme", "next": "", "csrf": ""})
    (to,) = re.findall(r'href="(http[^"]+)"', left.text)
    refused = person.get(httpx.get(html.unescape(to)).headers["location"])
    assert (refused.status_code, "login_refused" in refused.text) == (401, True)
    assert "aig_session" not in str(refused.headers.get_list("set-cookie"))


def test_an_operator_of_one_organization_sees_no_other(two_places: Served) -> None:
    person = two_places.person("ada", "owner", "acme")
    assert person.get("/dashboard/").headers["location"] == "/dashboard/o/acme"
    assert "secret-bot" in person.page("/dashboard/o/acme/agents")
    for place in ("default", "nowhere", "system"):
        answer = person.get(f"/dashboard/o/{place}/agents")
        assert (answer.status_code, "unknown_organization" in answer.text) == (404, True)
        assert "dana@example.org" not in answer.text
    whole = two_places.person("root")
    assert "secret-bot" in whole.page("/dashboard/o/acme/agents")
    assert "dana@example.org" in text_of(whole.page("/dashboard/o/default/agents"))


def test_a_login_is_no_edit_of_the_registry_by_hand(served: Served) -> None:
    """It is an entry about an operator that changes nothing of it."""
    person = served.person()
    assert "edited the registry by hand" not in person.page(HOME)


def test_a_link_leads_to_the_page_that_was_asked_for_and_to_no_other_site(served: Served) -> None:
    """So does a login that a form needed; the login page names the command with the page."""
    wanted = "/dashboard/o/default/agents?status=active&team=a b"
    page = served.stranger().page("/dashboard/login", next=wanted)
    assert "gateway dashboard &#39;/dashboard/o/default/agents?status=active&amp;team=a b&#39;" in page
    operator = served.operator("ada")
    for given, led in (
        ("/dashboard/o/default/agents?status=active", "/dashboard/o/default/agents?status=active"),
        ("//evil.example/dashboard/", "/dashboard/"),
        ("https://evil.example/dashboard/", "/dashboard/"),
        ("/dashboard//evil.example", "/dashboard/"),
        ("/dashboard/\\evil.example", "/dashboard/"),
        ("/api/v1/agents", "/dashboard/"),
    ):
        person, link = served.stranger(), served.link(operator)
        page = person.page("/dashboard/enter", link=link, next=given)
        (kept,) = re.findall(r'name="next" value="([^"]*)"', page)
        answer = person.post("/dashboard/enter", {"link": link, "csrf": "", "next": html.unescape(kept)})
        assert (answer.status_code, answer.headers["location"]) == (303, led), given
    ended = person.post("/dashboard/logout")
    assert ended.status_code == 303
    late = person.post("/dashboard/o/default/limits/new", {"csrf": "x"})
    assert (late.status_code, 'href="/dashboard/login?next=/dashboard/o/default/limits/new"' in late.text) == (
        401,
        True,
    )


def test_forms_that_are_sent_slowly_keep_nobody_out(served: Served) -> None:
    address = httpx.URL(served.url)
    head = (
        f"POST /dashboard/enter HTTP/1.1\r\nhost: {address.netloc.decode()}\r\norigin: {served.url}\r\n"
        "content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\r\nlink="
    )
    with ExitStack() as open_:
        for _ in range(MAX_VISITS + 20):
            slow = open_.enter_context(socket.create_connection((address.host, address.port or 0)))
            slow.sendall(head.encode())
        assert served.stranger().get("/dashboard/login").status_code == 200
