"""Every page and form by plain HTTP: for each role, with the ids of another organization, and with hostile texts."""

from __future__ import annotations

import html
import itertools
import json
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import httpx
import pytest
from sqlmodel import select
from typer.main import get_command

from gateway.approvals.asking import Asking, Askings
from gateway.approvals.calls import RawCall
from gateway.cli import build
from gateway.control import kept_answers
from gateway.control.dashboard import pages
from gateway.control.dashboard.shown import ShownPage
from gateway.policy.approvals import Requirement
from gateway.registry import emergency_stops, webhooks
from gateway.registry.agents import registration
from gateway.registry.keys.changes import create_key
from gateway.registry.limits import usage_limits
from gateway.registry.models import RepeatableRequest
from gateway.registry.operators import login_providers, operators
from gateway.registry.organizations import teams
from gateway.registry.organizations.changes import create_organization
from gateway.registry.policies import bindings
from gateway.registry.upstreams import changes as upstreams
from gateway.registry.upstreams import routes, tools
from gateway.usage import rollup
from gateway.webhooks import signature
from tests.gateway.approvals.asked import asked
from tests.gateway.cli import remote_scripts
from tests.gateway.conftest import ACTOR
from tests.gateway.control.dashboard.conftest import Person, Served, text_of
from tests.gateway.control.dashboard.policies import Policies

DECISIONS = {
    "default": "dec_00000000-0000-7000-8000-000000000001",
    "acme": "dec_00000000-0000-7000-8000-000000000002",
}


VERBS = {"keys": ("revoke", "rotate"), "operators": ("revoke",), "approvals": ("deny", "approve", "revoke")}
"""The forms that share a path, by its beginning."""


WHOLE: dict[str, str] = {}
"""The ids of what the whole gateway has, by the names in the paths of pages; the fixture fills it in."""


@dataclass
class Things:
    """What an organization has, by the names in the paths of pages."""

    organization: str
    agent: str
    key: str
    limit: str
    operator: str
    token: str
    approval: str
    decision: str
    commit: str
    binding: str
    stop: str
    webhook: str
    tool: str

    def names(self) -> dict[str, str]:
        """What stands in the paths of pages about these things."""
        mine = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "organization"}
        return {**mine, "decision": DECISIONS[self.organization]}

    def of(self, page: ShownPage, verb: str = "") -> str:
        """The address of a page about these things."""
        names = {
            "organization": self.organization,
            "agent": self.agent,
            "key": self.key,
            "decision": self.decision,
            "entry": self.decision,
            "commit": self.commit,
            "file": quote("starter/authz.rego", safe=""),
            "limit": self.limit,
            "operator": self.operator,
            "token": self.token,
            "upstream": "openai",
            "binding": self.binding,
            "stop": self.stop,
            "webhook": self.webhook,
            "tool": self.tool,
            "team": "blue",
            "route": "chat",
            "provider": "acme-login",
            **(WHOLE if page.everywhere else {}),
            "approval": self.approval,
            "verb": verb or VERBS.get(page.path.partition("/")[0], ("suspend",))[0],
        }
        base = "/dashboard/" if page.everywhere else "/dashboard/o/{organization}/"
        return (base + page.path).format(**names).removesuffix("/") or "/"


@pytest.fixture
def both(served: Served) -> dict[str, Things]:
    return two_filled(served)


def two_filled(served: Served) -> dict[str, Things]:
    """Two organizations with the same things, and with a mark of its own each."""
    home = served.home
    create_organization(home.registry, actor=ACTOR, name="acme")
    policies = Policies.made(home)
    revisions = policies.activate()
    remote_scripts.fill(home.data)
    found = {}
    for name in ("default", "acme"):
        agent = registration.register_agent(
            home.registry,
            actor=ACTOR,
            organization=name,
            name="bot",
            owner=f"mark-of-{name}",
            reason=f"mark-of-{name}",
            labels={"note": f"mark-of-{name}"},
        )
        key = create_key(home.registry, home.peppers, actor=ACTOR, organization=name, agent="bot").record
        by = {"actor": ACTOR, "organization": name}
        bound = bindings.bind(home.registry, **by, kind="agent", subject="bot", bundle="starter", effect="grant")
        limit = usage_limits.set_limit(
            home.registry,
            actor=ACTOR,
            organization=name,
            kind="agent",
            subject="bot",
            name="requests_per_day",
            value=1000,
            reason=f"mark-of-{name}",
        )
        upstreams.add_upstream(
            home.registry,
            home.vault,
            actor=ACTOR,
            organization=name,
            name="openai",
            provider="openai",
            base_url=f"http://127.0.0.1:9/mark-of-{name}",
            secret="sk-x",
            insecure=True,
        )
        upstreams.add_upstream(
            home.registry,
            home.vault,
            **by,
            name="tracker",
            provider="mcp",
            base_url=f"http://127.0.0.1:9/mark-of-{name}",
            secret=None,
            trust="approve",
        )
        (seen,) = tools.observe(
            home.registry,
            **by,
            upstream="tracker",
            documents=[{"name": "find", "description": f"mark-of-{name}"}],
            protocol="2026-07-28",
        )
        holder = operators.add_operator(
            home.registry, actor=ACTOR, organization=name, name=f"mark-of-{name}", role="viewer"
        )
        token = operators.create_token(
            home.registry, home.peppers, actor=ACTOR, organization=name, operator=holder.id
        ).record
        teams.create_team(home.registry, **by, name="blue", owner=f"mark-of-{name}", description=f"mark-of-{name}")
        routes.set_route(home.registry, **by, name="chat", members=[routes.NewMember("openai", 1, 1, {"a": "b"})])
        webhook = webhooks.add_webhook(
            home.registry,
            home.vault,
            **by,
            url=f"https://mark-of-{name}.example",
            insecure=False,
            allow_private=False,
            events=None,
            secret=signature.new_secret(),
            since=0,
        )
        stop, _ = emergency_stops.stop(home.registry, **by, reason=f"mark-of-{name}")
        emergency_stops.resume(home.registry, **by)
        demanded = Requirement(f"mark-of-{name}", quorum=2)
        approval = asked(home, agent.id, demanded, organization=name, model=f"mark-of-{name}")
        ids = (each.id for each in (agent, key, limit, holder, token))
        decision = policies.decided(revisions, organization=name, reasons=("no web search", f"mark-of-{name}"))
        found[name] = Things(
            name, *ids, approval, decision, revisions[0].commit, bound.id, stop.id, webhook.id, seen.tool.id
        )
    by = {"actor": ACTOR}
    login_providers.add_provider(
        home.registry, home.vault, **by, name="acme-login", issuer="https://login.example", client_id="c"
    )
    rule = login_providers.add_rule(
        home.registry, **by, provider="acme-login", claims={"groups": "mark-of-whole"}, role="viewer"
    )
    operator = served.operator("whole", "viewer")
    token = operators.create_token(home.registry, home.peppers, **by, organization=None, operator=operator).record
    stop, _ = emergency_stops.stop(home.registry, **by, organization=None, reason="all")
    emergency_stops.resume(home.registry, **by, organization=None)
    WHOLE.update(rule=rule.id, operator=operator, token=token.id, stop=stop.id)
    return found


def shown() -> list[ShownPage]:
    """Those that are there: each person's sessions are its own."""
    return [each for each in pages.PAGES if not each.changes and each.path and "sessions/{token}" not in each.path]


def test_two_people_look_and_approve_a_call(served: Served, both: dict[str, Things]) -> None:
    """From the link of the refusal, by the login page, to the call and an answer."""
    things = both["acme"]
    path = f"/dashboard/o/acme/approvals/{things.approval}"
    away = served.stranger().get(path)
    assert (away.status_code, away.headers["location"]) == (303, f"/dashboard/login?{urlencode({'next': path})}")
    (body,) = re.findall(r"<pre>(.*?)</pre>", served.person("root").post(f"{path}/look").text)
    assert html.unescape(body) == '{"model":"m"}'
    for number, (name, state) in enumerate((("ada", "waiting"), ("bea", "approved"))):
        person = served.person(name, "admin", "acme")
        page = person.page(path)
        assert (f"{2 - number} missing" in page, "mark-of-acme" in page, "<pre>" in page) == (True, True, False)
        assert f'href="{path}"' in person.page("/dashboard/o/acme/approvals", state="waiting")
        done = person.post(f"{path}/say/approve", {"reason": f"fine for {name}"})
        assert (done.status_code, done.headers["location"]) == (303, path)
        assert (f">{state}<" in person.page(path), f"fine for {name}" in person.page(path)) == (True, True)
    again = person.post(f"{path}/say/deny", {"reason": "too late"})
    assert (again.status_code, "approval_settled" in again.text) == (409, True)
    assert person.post(f"{path}/say/revoke", {"reason": "oops"}).status_code == 303
    assert ">revoked<" in person.page(path)


def test_an_agent_is_registered_and_runs_by_what_the_page_says(served: Served, both: dict[str, Things]) -> None:
    person = served.person()
    page = person.page("/dashboard/o/default/agents/new")
    once = re.findall(r'name="once" value="([^"]+)"', page)[0]
    fields = {"csrf": person.csrf(page), "once": once, "name": "new-bot", "owner": "dana", "bundle": "starter"}
    made = person.post("/dashboard/o/default/agents/new", fields)
    assert made.status_code == 201, text_of(made.text)
    (key,) = set(re.findall(r"aig_sk_\w+", made.text))
    assert f"OPENAI_API_KEY={key}" in made.text
    lines = [html.unescape(each) for each in re.findall(r'data-copy="([^"]+)"', made.text)]
    (python,) = (each for each in lines if "openai.OpenAI(" in each)
    assert compile(python, "pasted", "exec")
    (curl,) = (shlex.split(each) for each in lines if each.startswith("curl "))
    assert f"Authorization: Bearer {key}" in curl
    assert json.loads(curl[-1])["messages"][0]["role"] == "user"
    assert "http://127.0.0.1:8080/v1" in made.text
    again = person.post("/dashboard/o/default/agents/new", fields)  # the browser sends the form again
    assert (again.status_code, "aig_sk_" in again.text, "shown before" in again.text) == (201, False, True)
    agent = person.page("/dashboard/o/default/agents/new-bot")
    assert agent.count("aig_sk_") == 3  # its public part: shown, to copy, and as the button's name
    assert "starter" in agent
    taken = person.post("/dashboard/o/default/agents/new", {**fields, "once": "another"})
    assert (taken.status_code, "agent_exists" in taken.text or "exists" in taken.text) == (409, True)
    assert 'value="dana"' in taken.text  # nothing has to be typed again


def test_my_agents_are_those_of_my_name(served: Served, both: dict[str, Things]) -> None:
    for name, owner in (("hers", "dana@example.org"), ("near", "dana@example.org.uk"), ("none", "")):
        served.home.agent(name, owner=owner)
    served.home.agent("mine", owner="dana")
    dana = served.person("dana", "viewer", "default")
    page = dana.page("/dashboard/o/default/mine")
    assert re.findall(r'href="/dashboard/o/default/agents/([\w-]+)"', page) == ["mine"]
    page = dana.page("/dashboard/o/default/mine", owner="dana@example.org")
    assert re.findall(r'href="/dashboard/o/default/agents/([\w-]+)"', page) == ["hers"]
    assert "gateway agents list --owner dana@example.org<" in page
    assert len(dana.get("/dashboard/o/default/mine", format="csv").text.splitlines()) == 2
    assert "No agent has the owner nobody" in served.person("nobody").page("/dashboard/o/default/mine")


def test_my_agents_page_says_what_became_of_their_calls(served: Served, both: dict[str, Things]) -> None:
    owners = {name: served.home.agent(name, owner=name) for name in ("dana", "sam")}
    requests = {name: asked(served.home, agent) for name, agent in owners.items()}
    path = f"/dashboard/o/default/approvals/{requests['sam']}"
    assert served.person().post(f"{path}/say/deny", {"reason": "not this month"}).status_code == 303
    mine = served.person("sam", "viewer", "default").page("/dashboard/o/default/mine")
    assert (requests["sam"] in mine, requests["dana"] in mine, "not this month" in mine) == (True, False, True)
    assert "gateway approvals list --owner sam<" in mine


def test_an_agent_is_suspended_resumed_and_revoked(served: Served, both: dict[str, Things]) -> None:
    person = served.person()
    agent = "/dashboard/o/default/agents/bot"
    for verb, status in (("suspend", "suspended"), ("resume", "active"), ("revoke", "revoked")):
        asked = person.page(f"{agent}/do/{verb}")
        assert f"gateway agents {verb} bot" in asked
        done = person.post(f"{agent}/do/{verb}", {"reason": f"because of {verb}"})
        assert (done.status_code, done.headers["location"]) == (303, agent)
        assert f">{status}<" in person.page(agent)
    versions = person.page(f"{agent}/versions")
    assert "status: suspended → active" in versions
    assert "because of resume" in versions


def test_a_key_is_replaced_and_revoked(served: Served, both: dict[str, Things]) -> None:
    person, key = served.person(), both["default"].key
    made = person.post(f"/dashboard/o/default/keys/{key}/rotate", {"overlap": "2"})
    assert (made.status_code, len(set(re.findall(r"aig_sk_\w+", made.text)))) == (201, 1)
    assert person.post(f"/dashboard/o/default/keys/{key}/rotate", {"overlap": "x"}).status_code == 422
    ended = person.post(f"/dashboard/o/default/keys/{key}/revoke")
    assert (ended.status_code, ended.headers["location"]) == (303, "/dashboard/o/default/agents/bot")


def test_pages_go_on_by_cursor_and_files_have_the_rows(served: Served, both: dict[str, Things]) -> None:
    for number in range(60):
        served.home.agent(f"agent-{number:02}", owner="=1+2")
    person = served.person()
    first = person.page("/dashboard/o/default/agents")
    (following,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = person.page(following.replace("&amp;", "&"))
    names = [re.findall(r'href="/dashboard/o/default/agents/([\w-]+)"', each) for each in (first, second)]
    listed = [each for each in itertools.chain(*names) if each != "new"]
    assert listed == ["bot", *(f"agent-{number:02}" for number in range(60))]
    file = person.get("/dashboard/o/default/agents", format="csv")
    assert file.headers["content-type"].startswith("text/csv")
    assert len(file.text.splitlines()) == 62
    assert ",'=1+2," in file.text  # no formula
    assert "agent-07" in person.page("/dashboard/o/default/agents", search="ENT-07")
    assert "agent-08" not in person.page("/dashboard/o/default/agents", search="ENT-07")


def test_a_decision_has_its_verdicts_and_records(served: Served, both: dict[str, Things]) -> None:
    person = served.person()
    assert DECISIONS["default"] in person.page("/dashboard/o/default/decisions")
    assert DECISIONS["default"] not in person.page("/dashboard/o/default/decisions", model="another")
    page = person.page(f"/dashboard/o/default/decisions/{DECISIONS['default']}")
    assert "Verdict of each bundle" in page
    assert "&#34;kind&#34;: &#34;decided&#34;" in page


def test_what_a_person_has_in_hand_is_found(served: Served, both: dict[str, Things]) -> None:
    """An id alone, within the message of a refused call, or a name that is no id."""
    person, home = served.person(), "/dashboard/o/default"
    decision, request, agent = DECISIONS["default"], both["default"].approval, both["default"].agent
    goes = {
        decision: f"decisions/{decision}",
        f"403 policy_denied (the model is not open (decision {decision}))": f"decisions/{decision}",
        f"  {agent}\n": f"agents/{agent}",
        f"approval_required: {request}, decision {decision}": f"approvals/{request}",
        "https://elsewhere.example/": "agents?search=https%3A%2F%2Felsewhere.example%2F",
    }
    for text, place in goes.items():
        answer = person.get(f"{home}/decisions", find=text)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{home}/{place}"), text


@pytest.mark.slow
def test_each_command_under_a_table_is_one(served: Served, both: dict[str, Things]) -> None:
    """The command line takes it, with its options."""
    person = served.person()
    program = get_command(build())
    seen = set()
    filters = {"status": "active", "team": "blue", "search": "bot", "agent": "bot", "allow": "false", "model": "m"}
    for page in shown():
        for query in ({}, filters):
            answer = person.get(both["acme"].of(page), **query)
            seen |= set(re.findall(r'data-copy="(gateway [^"]+)"', answer.text))
    assert len(seen) > 10
    for text in sorted(seen):
        words = shlex.split(text.replace("&#34;", '"').replace("&#39;", "'"))
        context, left = program, words[1:]
        with program.make_context("gateway", [], resilient_parsing=True) as root:
            while hasattr(context, "commands") and not left[0].startswith("-"):
                name, context, left = context.resolve_command(root, left)
                assert context is not None, text
            context.make_context(name, list(left), parent=root)


# --- hostile texts ----------------------------------------------------------------------------------------------------

_TEXTS = (
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "'-alert(1)-'"),
    *("javascript:alert(1)", "{{7*7}}", "{% raw %}", "</title><script>alert(1)</script>", "<!--", "]]>", "&lt;b&gt;"),
    *('" autofocus onfocus=alert(1) x="', "' onmouseover='alert(1)", "</textarea><script>alert(1)</script>"),
    *("<svg/onload=alert(1)>", "<a href=javascript:alert(1)>x</a>", "<base href=//evil.example>", "${7*7}", "#{7*7}"),
    *('<meta http-equiv=refresh content="0;url=//evil.example">', "<style>*{display:none}</style>", "\\u003cb\\u003e"),
    *("<iframe src=//evil.example></iframe>", "<form action=//evil.example><input name=csrf>", "`${alert(1)}`", "=1+1"),
    *("‮evil‬", "à́̂̃" * 8, "W" * 200, "<" * 100, "a b c", "<b>bold", "</div></main></body>", "&#x3C;b&#x3E;"),
)


def texts(most: int) -> Iterator[str]:
    """These, and each inside a few others."""
    made = [*_TEXTS]
    for wrapped in ('x" {}', "x' {}", "{} -->", "</td>{}"):
        made += [wrapped.replace("{}", each) for each in _TEXTS]
    return (each[:200] for each in made[:most])


class Reader(HTMLParser):
    """What a browser would make of a page: only what our templates have."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "iframe", "base", "style", "object", "embed", "b"):
            self.wrong.append(tag)
        if tag == "script" and not (given.get("src") or "").startswith("/dashboard/static/"):
            self.wrong.append("script")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.wrong.append(f"{tag} {name}")
            if name in ("href", "src", "action") and not (value or "").startswith(("/", "?", "#")):
                self.wrong.append(f"{tag} {name}={value}")
            if name in ("href", "src", "action") and (value or "").startswith("//"):
                self.wrong.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def hostile(served: Served, person: Person, most: int) -> None:
    for number, text in enumerate(texts(most)):
        if not text.isprintable():
            continue
        made = registration.register_agent(
            served.home.registry,
            actor=ACTOR,
            organization="default",
            name=f"evil-{number}",
            owner=text,
            labels={"note": text},
            reason=text,
        )
        approval = asked(served.home, made.id, Requirement(text), body=text.encode(), model=text)
        if number % 5 == 0 or most > 50:
            check(person.post(f"/dashboard/o/default/approvals/{approval}/look").text, text)
            person.post(f"/dashboard/o/default/approvals/{approval}/say/deny", {"reason": text})
            page = person.page(f"/dashboard/o/default/approvals/{approval}")
            check(page, text)
            assert ">denied<" in page
        places = [f"agents/evil-{number}", f"agents/evil-{number}/versions", f"agents/evil-{number}/do/revoke"]
        for place in places if number % 5 == 0 or most > 50 else places[:1]:
            check(person.page(f"/dashboard/o/default/{place}"), text)
    page = person.post("/dashboard/o/default/approvals/several/approve", {"chosen": approval, "reason": "x"}).text
    check(page, None)
    for place in ("agents", "approvals", "approvals?state=denied", "approvals/deny-all"):
        check(person.page(f"/dashboard/o/default/{place}"), None)
    for text in texts(most):
        for place in ("agents", "decisions", "approvals/deny-all"):
            query = {"search": text, "team": text, "reason": text, "model": text, "matching": text}
            check(person.get(f"/dashboard/o/default/{place}", **query).text, None)
        check(person.get(f"/dashboard/o/default/agents/{text.replace('/', '')}").text, None)
        check(served.stranger().get("/dashboard/login", next=text).text, None)


def check(page: str, text: str | None) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.wrong == [], text
    assert page.rstrip().endswith("</main>\n</body>\n</html>")
    if text is not None:
        assert text in "".join(reader.words)


@pytest.mark.slow
def test_hostile_texts_are_texts(served: Served) -> None:
    hostile(served, served.person(), 30)


@pytest.mark.slow
def test_more_hostile_texts_are_texts(served: Served) -> None:
    hostile(served, served.person(), 120)


def test_traffic_and_activity_are_the_sums_that_are_kept(served: Served, both: dict[str, Things]) -> None:
    """Of an organization's own agents, whatever ids are named."""
    mine, theirs = both["acme"], both["default"]
    operator = operators.operator(served.home.registry, "acme", "mark-of-acme")
    made = operators.create_token(
        served.home.registry, served.home.peppers, actor=ACTOR, organization="acme", operator=operator.id
    )
    with httpx.Client(
        base_url=f"{served.url}/api/v1", headers={"authorization": f"Bearer {made.text}"}, timeout=30
    ) as http:
        before = http.get("/usage/traffic").json()
        assert (before["items"], before["behind"] > 0) == ([], True)  # no sums yet
        with served.api._context.log() as log:
            rollup.advance(served.home.data.cache, log, 1000)
        after = http.get("/usage/traffic", params={"span": "day", "count": "30"}).json()
        assert [(each["fate"], each["requests"]) for each in after["items"]] == [("denied", 1), ("ended", 1)]
        found = http.get("/usage/activity", params={"agents": f"{mine.agent},{theirs.agent}"}).json()
        assert [each["agent"] for each in found["items"]] == [mine.agent]
        assert found["items"][0]["last_used"] is None


def test_a_reviewer_sees_the_whole_call_which_is_kept_nowhere_else(served: Served) -> None:
    """All that the approval is for is on the page, nothing of it hides, and no repeated request keeps it unsealed."""
    home, demanded = served.home, (Requirement("big"),)
    person, agent = served.person("olga"), home.agent("bot")
    body = 'password-"\u202etfel\u202c \u200b"'
    call = RawCall(
        organization="default",
        agent_id=agent,
        delegation=[{"agent": "agt_delegating"}],
        person=("https://login.example", "person-7"),
        upstream_id="ups_a",
        base_url="http://127.0.0.1:1",
        action="chat.completions",
        method="POST",
        path="/v1/chat/completions",
        query={"include[]": "query-value"},
        headers={},
        content_type="application/json",
        body=body.encode(),
    )
    asked = Askings(home.data.registry_db, home.vault, "boot_a").ask(
        Asking(
            call=call,
            digest=call.digest(demanded),
            pattern=None,
            requirements=demanded,
            key_id="",
            decision_id="dec_x",
            about={},
        ),
        time.time_ns(),
    )
    page = f"/dashboard/o/default/approvals/{asked.id}"
    once = re.findall(r'name="once" value="([^"]+)"', person.page(page))[0]
    for _ in range(2):
        shown = text_of(person.post(f"{page}/look", {"once": once}).text)
        for part in ("agt_delegating", "person-7", "query-value", r"\u202etfel\u202c \u200b"):
            assert part in shown, part
    for path in home.data.path.glob("registry.db*"):
        assert b"password-" not in path.read_bytes()
    with home.registry.read() as session:
        assert session.exec(select(RepeatableRequest)).all() == []


def test_pages_say_that_an_answer_is_being_made(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a very large gateway, where the first visitor does not wait until it is made."""
    person = served.person("olga")
    monkeypatch.setattr(kept_answers.KeptAnswers, "get", lambda *_given: None)
    assert "being looked at: load the page again" in person.page("/dashboard/o/default")
    assert "are being made: load the page again" in person.page("/dashboard/o/default/usage")
    monkeypatch.undo()
    assert "As of" in person.page("/dashboard/o/default")
    assert "Added up at" in person.page("/dashboard/o/default/usage")
