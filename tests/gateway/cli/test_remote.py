"""`gateway --server URL …`: the same commands as on a data directory, over the real control API without its sockets."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlmodel import select

from gateway.audit import signer, storage
from gateway.audit.writer import AuditWriter
from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.identity.public_keys import generate, public_pem
from gateway.management import servers
from gateway.registry.models import Operator
from gateway.registry.operators import operators
from tests.gateway.cli import remote_scripts
from tests.gateway.conftest import ACTOR, ORG, Done, Home, Run
from tests.gateway.control.dashboard.policies import Policies
from tests.rigs.cli.permissions import activate
from tests.rigs.cli.remote import URL, Elsewhere, elsewhere, gateway, offline, there  # noqa: F401  # fixtures among them

OWN_PRICES = Path(__file__).resolve().parents[3] / "schemas" / "examples" / "prices.own.json"


# --- the same output --------------------------------------------------------------------------------------------------


SCRIPTS: Final = {
    "quick": """
        agents register bot --owner dana@example.com --json
        agents show bto
        agents list
        """,
    "agents": """
        agents list
        agents register bot --owner dana@example.com --capability chat --label site=berlin --expires 2090-01-01 --json
        agents register bot
        agents register Bot!
        agents register helper --parent bot --team support --description answers --review-days 30 --env prod
        agents register late --team suport
        agents register worse --label nothing
        agents list
        agents list --json
        agents list --limit 2
        agents list --limit 2 --json
        agents list --after helper
        agents list --at 2001-01-01
        agents show bto
        agents show helper
        agents show helper --json
        agents show bot --at 2001-01-01
        agents update bot --add-capability tools --remove-capability chat --label site=paris --reason moved
        agents update bot --add-capability tools
        agents update bot --remove-capability tolls
        agents update bot --remove-label sites --json
        agents update bot --name robot --expires never --json
        agents update robot
        agents update robot --keep-content --retention-days 7 --redact [0-9]+
        agents update robot --retention-days 9 --no-redact --json
        agents update robot --no-keep-content
        agents update nobody --owner x
        agents review helper --reason looked
        agents history robot
        agents history robot --json
        """,
    "keys": """
        agents register robot
        agents register helper
        agents register late
        keys create robot
        keys create robot --expires 30d --model gpt-4o* --network 10.0.0.0/8 --action chat.completions --json
        keys create robot
        keys create nobody
        keys create robot --action chat.completion
        keys list
        keys list helper
        keys list --json
        keys rotate --agent robot
        keys rotate --agent helper
        keys create helper
        keys rotate --agent helper --overlap 1h --reason monthly
        keys rotate --agent helper --json
        keys revoke key_nothing
        keys add-public PEM --agent robot --expires 90d --reason signs --json
        keys add-public PEM --agent robot
        keys add-public PEM --agent helper
        keys add-public MISSING --agent robot
        keys add-public PEM --agent nobody
        keys generate --agent late --out NEW1 --model gpt-4o
        keys generate --agent late --out NEW1
        keys generate --agent nobody --out NEW2
        keys generate --agent late --out NEW2 --action chat.completion
        keys generate --agent late --out NEW2 --type p256 --json
        keys add-spiffe spiffe://example.org/robot --agent robot --network 10.0.0.0/8
        keys add-spiffe spiffe://example.org/robot --agent robot
        keys add-spiffe spiffe://example.org/robot --agent helper
        keys add-spiffe spiffe://example.org/late --agent late --expires 30d --json
        keys add-spiffe https://example.org/late --agent late
        keys list late
        keys list --json
        keys revoke spiffe://example.org/robot --reason moved
        keys revoke spiffe://example.org/robot --json
        keys rotate spiffe://example.org/late
        agents suspend helper --reason odd
        agents suspend helper --json
        agents resume helper
        agents resume helper
        agents revoke robot --reason broken
        agents revoke robot --json
        agents resume robot
        agents retire late
        agents retire late
        keys list robot
        """,
    "secrets": """
        agents register bot
        agents update bot --keep-content
        vault status
        vault status --json
        vault rotate
        vault rotate --json
        agents update bot --no-keep-content
        agents update bot --keep-content
        agents erase-content bot
        agents erase-content bot --json
        agents erase-content nobody
        keys create bot
        keys peppers
        keys peppers --json
        keys add-pepper
        keys add-pepper --json
        keys create bot
        keys remove-pepper 2
        keys remove-pepper 9 --json
        keys leaked PEM
        keys leaked MISSING
        """,
    "rotations": """
        keys rotate --all --out NEW1
        agents register robot
        agents register helper --team support
        agents register late --team support
        agents register gone --team support
        agents revoke gone
        keys create robot
        keys create helper
        keys create late
        keys create late
        keys rotate --team support
        keys rotate --team marketing --out NEW1
        keys rotate --team support --out NEW1 --overlap 1h --reason monthly
        keys rotate --team support --out NEW1
        keys rotate --all --out NEW2 --expires 30d --json
        keys rotate --all --team support --out NEW3
        keys list --json
        """,
    "teams": """
        agents register robot
        agents register helper --team support
        teams create sales --owner sam --description sells --json
        teams create sales
        teams update support --owner sue
        teams update support --owner sue
        teams update suport --owner sue --json
        teams list
        teams list --json
        teams show support
        teams show support --json
        teams suspend support
        teams suspend support --json
        agents list
        agents show helper
        agents suspend helper
        agents resume helper
        teams resume support --reason fine
        teams resume support
        teams revoke support
        teams revoke support --yes --json
        """,
    "assignments": """
        agents register robot
        agents register helper --team support
        bind robot crm --reason needed
        bind robot crm
        bind robot crm --effect guard
        bind robot crm --effect guard --yes --json
        bind team:support crm --json
        bind team:marketing crm
        bind team:marketing crm --create
        bind org:default crm --shadow
        bind nobody crm
        bind robot nothing
        bindings list
        bindings list robot
        bindings list --json
        agents show robot
        agents show helper --json
        unbind robot crm --reason over --json
        unbind robot crm
        unbind org:default crm --shadow
        limits set robot requests_per_minute 5 --reason careful
        limits set robot requests_per_minute 5 --model gpt-4o
        limits set robot requests_per_minutes 5
        limits set team:support tokens_per_day 1000 --json
        limits set team:nowhere tokens_per_day 1000
        limits raise robot requests_per_minute 9 --for 2h --reason launch
        limits raise robot requests_per_minute 3 --for 2h --reason launch
        limits raise robot requests_per_minute 9 --for 90d --reason launch --json
        limits list
        limits list --json
        limits show robot
        limits show helper --json
        agents show robot --json
        limits remove robot requests_per_minute --reason over
        limits remove robot requests_per_minute
        """,
    "tokens": """
        tokens keys
        tokens rotate-key --reason yearly
        tokens rotate-key --at-once --reason leaked
        tokens rotate-key --json
        tokens rotate-key --at-once --json
        tokens keys
        tokens keys --json
        tokens rotate-keys
        """,
    "organizations": """
        orgs create acme --json
        orgs create acme
        orgs list
        orgs list --json
        agents register spy --org acme
        agents list --org acme --json
        agents list --org acne
        stop --org acme --reason fire
        stop --org acme --reason fire
        stop --all --reason fire --json
        agents list --org acme
        orgs show acme
        resume --org acme
        resume --all --json
        resume --all
        orgs suspend acme --reason unpaid
        orgs suspend acme --json
        resume --org acme
        orgs show acme --json
        orgs resume acme
        orgs update acme
        orgs update acme --review-days 30 --zone Europe/Zurich --reason quarterly
        orgs update acme --zone Europe/Zurich
        orgs update acme --zone Europe/Zürich
        orgs update acme --zone= --json
        orgs update acme --review-days -3
        orgs update acme --review-days 0 --zone UTC --json
        orgs update acme --suspend-after 14d --reason strict
        orgs update acme --suspend-after 14d --yes
        orgs update acme --suspend-after 500d
        orgs update acme --suspend-after soon
        orgs update acme --suspend-after off --json
        orgs update acne --zone UTC
        orgs show acme --json
        orgs revoke acme
        orgs revoke acme --yes
        orgs update acme --zone UTC
        orgs revoke acme
        orgs show acne
        """,
    "operators": """
        orgs create acme
        operators add anna --role admin --reason team --json
        operators add anna --role viewer
        operators add Anna! --role viewer
        operators add ann --role viewer --org acme
        operators add ann --role viewer --org acne
        operators list --org acme --json
        operators list --org acne
        operators show anna
        operators show ana
        operators show ann --org acme --json
        operators update anna --role owner --reason promoted
        operators update anna --role owner
        operators update anna --role auditor --json
        operators token list anna
        operators token create anna --expires 30d --scope read --scope audit:read --reason reports --json
        operators token create anna
        operators token create anna --scope agent:write
        operators token create nobody
        operators token list anna
        operators token list anna --json
        operators show anna --json
        operators token revoke otk_nothing
        operators revoke anna --reason left
        operators revoke anna --json
        operators token create anna
        operators update anna --role viewer
        operators show anna
        operators token create ann --org acme
        operators revoke ann --org acme
        """,
    "permissions": """
        agents register robot
        agents register helper --team support
        agents register gone
        agents revoke gone
        permissions --model gpt-4o
        keys create robot
        keys create helper
        bind robot models
        permissions --model gpt-4o
        permissions --model gpt-4o --all
        permissions --model gpt-4o --model gpt-4o-mini --action chat.completions --action embeddings --tool lookup --all
        permissions --model gpt-4o --tool lookup --tool web_search:web --json
        permissions --model gpt-4o --action chat.completion
        permissions --model gpt-4o --upstream nowhere
        permissions --model gpt-4o --at 2001-01-01 --all
        agents permissions robot --model gpt-4o
        agents permissions robot --model gpt-4o --model gpt-4o-mini --json
        agents permissions robt --model gpt-4o
        agents permissions robot --model gpt-4o --at 2001-01-01
        agents permissions gone --model gpt-4o
        """,
    "decide": """
        agents register robot --team support
        decide --agent robot -i ../call.json
        keys create robot --network 10.0.0.0/8
        bind robot models
        decide --agent robot -i ../call.json
        decide --agent robot -i ../call.json --from 10.1.2.3 --explain --json
        decide --agent robot -i ../call.json --from 192.0.2.1
        decide --agent robot -i ../body.json --route /v1/chat/completions --from somewhere
        decide --agent robot -i ../body.json --route /v1/chat/completion
        decide --agent robot -i ../body.json --key key_none
        decide --agent robt -i ../call.json
        decide --agent robot -i ../call.json --from 10.1.2.3 --record
        audit list --kind decided
        teams suspend support
        decide --agent robot -i ../call.json --record
        decide --agent robot -i ../call.json --json
        """,
    "status": """
        agents register bot
        status
        status --json
        """,
    **remote_scripts.SCRIPTS,
}
"""Every command that has a remote form, many of them wrongly used as well."""


def told(script: str) -> list[list[str]]:
    return [line.split() for line in SCRIPTS[script].strip().splitlines()]


def last(said: str, word: str) -> str:
    """A word of a script; `LAST:key` is the last id that was printed and begins like that."""
    prefix = word.removeprefix("LAST:")
    return word if prefix == word else re.findall(rf"\b{prefix}_[0-9a-f-]{{36}}", said)[-1]


def normalised(done: Done) -> tuple[int, str, str]:
    """The output, without what differs between two gateways and two actors."""

    def plain(text: str) -> str:
        text = re.sub(r"aig_(sk|op)_\w+", "KEY", text)
        text = re.sub(r"whsec_[\w+/=]+", "SECRET", text)
        text = re.sub(r'"(protected|signature)": "[\w-]+"', "SIGNED", text)
        text = re.sub(r"\b[0-9a-f]{64}\b", "HASH", text)
        text = re.sub(r"\b[0-9a-f]{16}\b", "SEALER", text)
        text = re.sub(r"\b\d{19}\b", "NANOSECONDS", text)
        text = re.sub(r"\b\d+ ms\b", "MS", text)
        text = re.sub(r"\b[a-z]{3,4}_[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
        text = re.sub(r"\b[0-9a-f]{12}\b", "ADDRESS", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "TIME", text)
        text = re.sub(r"local:\d+|operator:ID", "ACTOR", text)
        text = re.sub(r"(?<![\w-])[\w-]{43}(?![\w-])", "THUMBPRINT", text)
        text = text.replace(f"gateway --server {URL} ", "gateway ").replace("there/new", "here/new")
        text = re.sub(r"\b\d+ (s|min)\b", "AGE", text)
        text = re.sub(r'"(checkpoint_)?age_seconds": \d+', "AGE", text)
        text = re.sub(r'"size": \d+|(?<=system: )\d+', "SIZE", text)
        text = re.sub(r"/[\w./-]+/(elsewhere|gateway-data|home|\.gateway)\b", "DATA", text)
        return re.sub(r" +", " ", text)

    return done.code, plain(done.out), plain(done.err)


@pytest.mark.parametrize(
    "script", [name if name == "quick" else pytest.param(name, marks=pytest.mark.slow) for name in SCRIPTS]
)
def test_commands_say_the_same_here_and_there(
    home: Home,
    elsewhere: Elsewhere,
    gateway: Run,
    there: Run,
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage.create(home.data)
    monkeypatch.setattr("gateway.cli.permissions._PAGE", 1)
    for each in (home, elsewhere.home):
        each.activate("crm")
        if script in ("permissions", "decide"):
            activate(each, "a" * 40, '"gpt-4o"')
        if script == "log":
            remote_scripts.fill(each.data)
        if script == "policies":
            remote_scripts.look_at_commits(each)
        if script == "commits":
            Policies.made(each)
        if script == "prices":
            shutil.copy(OWN_PRICES, each.data.prices)
        if script == "adoptions":
            remote_scripts.meet(each)
    if script == "secrets":  # a token is hashed there, too
        Elsewhere(home, elsewhere.api).token()
    remote_scripts.lay_out(tmp_path)
    monkeypatch.setenv("PROVIDERS_KEY", "sk-of-the-provider")
    for name in ("OLD_KEY", "OTHER_OLD_KEY"):
        monkeypatch.setenv(name, f"sk-{name}-that-everybody-has")
    pem = tmp_path / "key.pem"
    pem.write_text(public_pem(generate("ed25519").public_key()))
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    said = dict.fromkeys(("here", "there"), "")
    for line in told(script):
        local, remote = (
            [
                re.sub(r"^NEW", str(tmp_path / name / "new"), last(said[name], each.replace("PEM", str(pem))))
                for each in line
            ]
            for name in ("here", "there")
        )
        expected, found = gateway(*local, "--data", str(home.data.path)), there(*remote)
        said["here"] += expected.out
        said["there"] += found.out
        assert (line, *normalised(found)) == (line, *normalised(expected))
    files = [sorted(each.name for each in (tmp_path / name).iterdir()) for name in ("here", "there")]
    assert files[0] == files[1]


@pytest.mark.slow
def test_the_person_of_a_revoked_operator_is_readmitted(elsewhere: Elsewhere, there: Run) -> None:
    elsewhere.token("dana", "viewer")
    registry = elsewhere.home.registry
    with registry.write() as session:
        row = session.exec(select(Operator).where(Operator.name == "dana")).one()
        row.issuer, row.subject = "https://login.example", "7"
    assert there("operators", "readmit", "dana").out == "no login is barred by operator dana\n"
    operators.revoke_operator(registry, actor=ACTOR, organization=None, operator="dana")
    assert there("operators", "readmit", "dana").out.startswith("the person of operator dana (opr_")
    assert there("operators", "readmit", "dana", "--json").json == {"operator": "dana", "changed": False}


@pytest.mark.slow
def test_proofs_are_checked_here_and_nothing_is_believed(
    elsewhere: Elsewhere, there: Run, gateway: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = elsewhere.home.data
    remote_scripts.fill(data)
    writer = AuditWriter(data, boot=new_id("boot"), deployment="test")
    with signer.HeadSigner(data) as signing:
        signing.sign_all(writer)
        kept = tmp_path / "kept.checkpoint"
        kept.write_text(there("audit", "checkpoint").out)
        there("agents", "register", "bot")
        signing.sign_all(writer)
    writer.close()
    key, event = str(signer.public_key_path(data)), "dec_00000000-0000-7000-8000-000000000002"
    arguments = ("audit", "prove", event, "--known-checkpoint", str(kept))
    expected = gateway(*arguments, "--data", str(data.path))
    done = there(*arguments, "--public-key", key)
    assert (done.code, done.out) == (0, expected.out)
    assert "is number 0 of test/acme/audit/1, signed to 2" in done.out
    assert (
        there(*arguments).complains(2).startswith("what a gateway elsewhere says is checked with a key that you have")
    )
    anna = elsewhere.token("anna", "auditor", ORG)
    others = gateway("--server", URL, "audit", "prove", event, "--public-key", key, AIG_TOKEN=anna)
    assert others.complains(2).startswith("the log has no entry")
    # A program in the place of the gateway can say what it likes.
    monkeypatch.setattr("gateway.audit.merkle.inclusion_proof", lambda *_: [bytes(32)])
    assert "is not in the tree with this root" in there(*arguments, "--public-key", key).complains(1)


def test_every_remote_command_is_in_a_script() -> None:
    lines = [" ".join(line) + " " for script in SCRIPTS for line in told(script)]
    for_a_gateway = sorted(remote_scripts.of_a_gateway())
    assert [each for each in for_a_gateway if not any(line.startswith(f"{each} ") for line in lines)] == []


@pytest.mark.slow
def test_a_key_is_named_by_its_text_or_its_id(home: Home, elsewhere: Elsewhere, gateway: Run, there: Run) -> None:
    storage.create(home.data)
    said = []
    for run in (lambda *arguments: gateway(*arguments, "--data", str(home.data.path)), there):
        run("agents", "register", "bot")
        first = run("keys", "create", "bot").out.strip()
        verbs = ("rotate", "rotate", "revoke", "revoke")
        said.append([normalised(run("keys", verb, first)) for verb in verbs])
    assert said[0] == said[1]


@pytest.mark.slow
def test_entries_are_shown_as_they_are_written(
    home: Home, elsewhere: Elsewhere, gateway: Run, there: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.create(home.data)
    said = []
    for place, run in ((home, lambda *given: gateway(*given, "--data", str(home.data.path))), (elsewhere.home, there)):
        looks = iter([lambda place=place: remote_scripts.fill(place.data), lambda: None])

        def sleep(_seconds: float, looks: Iterator[Callable[[], None]] = looks) -> None:
            if (look := next(looks, None)) is None:
                raise KeyboardInterrupt
            look()

        monkeypatch.setattr("gateway.cli.audit_list.time.sleep", sleep)
        said.append(normalised(run("audit", "list", "--follow", "--kind", "decided", "--org", "default")))
    assert said[0] == said[1]
    assert said[0][1].count("decided") == 2


@pytest.mark.slow
def test_a_rule_is_removed_by_its_id(home: Home, elsewhere: Elsewhere, gateway: Run, there: Run) -> None:
    storage.create(home.data)
    said = []
    for run in (lambda *given: gateway(*given, "--data", str(home.data.path)), there):
        run("agents", "register", "bot")
        run("issuers", "add", "ci", "--issuer", "https://ci.example", "--audience", "gw")
        made = run("issuers", "rule", "add", "ci", "--claim", "repository=acme/app", "--agent", "bot", "--json").json
        removed = run("issuers", "rule", "remove", made["id"])
        assert (removed.code, made["id"] in removed.out) == (0, True)
        said.append([normalised(removed), normalised(run("issuers", "rule", "remove", made["id"], "--json"))])
    assert said[0] == said[1]


@pytest.mark.slow
def test_a_long_log_is_read_in_pages(elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.management.http.HttpTransport.page", 2)
    for name in ("a", "b", "c", "d", "e"):
        there("agents", "register", name)
    whole = [line.split()[2] for line in there("audit", "list", "--org", ORG).out.splitlines()[1:]]
    assert whole == [str(seq) for seq in range(len(whole))]
    assert len(whole) >= 5
    part = [line.split()[2] for line in there("audit", "list", "--org", ORG, "-n", "3").out.splitlines()[1:]]
    assert part == whole[-3:]


@pytest.mark.slow
def test_secrets_travel_in_bodies_only(elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS_KEY", "sk-of-the-provider")
    done = there("upstreams", "add", "openai", "--key-env", "PROVIDERS_KEY", "--json")
    assert done.code == 0
    holding = [each for each in elsewhere.requests if b"sk-of-the-provider" in each.content]
    assert [each.method for each in holding] == ["POST"]
    heads = [f"{each.url} {each.headers}" for each in elsewhere.requests]
    assert "sk-of-the-provider" not in " ".join([*heads, done.out, done.err])


@pytest.mark.slow
def test_a_page_is_followed_to_the_end(elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.management.http.HttpTransport.page", 2)
    for name in ("e", "b", "d", "a", "c"):
        elsewhere.home.agent(name)
    assert [each["name"] for each in there("agents", "list", "--json").json] == ["a", "b", "c", "d", "e"]
    assert [each["name"] for each in there("agents", "list", "--limit", "3", "--json").json] == ["e", "b", "d"]
    assert "add --after agt_" in there("agents", "list", "--limit", "3").err
    assert [each["name"] for each in there("agents", "list", "--after", "d", "--json").json] == ["a", "c"]


@pytest.mark.slow
def test_the_operators_own_organization_is_meant(elsewhere: Elsewhere, there: Run, gateway: Run) -> None:
    there("orgs", "create", "acme")
    token = elsewhere.token("anna", "admin", "acme")
    made = gateway("--server", URL, "agents", "register", "bot", "--json", AIG_TOKEN=token).json
    assert made["organization"] == "acme"
    refused = gateway("--server", URL, "agents", "list", "--org", ORG, AIG_TOKEN=token)
    assert "unknown organization `default`" in refused.complains()


@pytest.mark.slow
def test_a_token_for_agents_only_lists_them(elsewhere: Elsewhere, gateway: Run) -> None:
    token = elsewhere.token(scopes=["agents:write"])
    assert gateway("--server", URL, "agents", "register", "bot", AIG_TOKEN=token).code == 0
    assert "bot" in gateway("--server", URL, "agents", "list", AIG_TOKEN=token).out
    assert "may not read keys" in gateway("--server", URL, "agents", "show", "bot", AIG_TOKEN=token).complains()
    assert "may not read keys" in gateway("--server", URL, "keys", "list", AIG_TOKEN=token).complains()


@pytest.mark.slow
def test_lists_with_agents_take_one_request_each(elsewhere: Elsewhere, there: Run) -> None:
    elsewhere.home.activate("crm")
    for name in ("a", "b", "c"):
        elsewhere.home.agent(name, team="support")
    asked = []
    for line in (
        "bind team:support crm",
        "teams list --org default",
        "bindings list --org default",
        "teams show support",
    ):
        elsewhere.requests.clear()
        assert there(*line.split()).code == 0
        asked.append(
            [each.url.path.removeprefix("/api/v1/") for each in elsewhere.requests if "/me" not in each.url.path]
        )
    assert [len(each) for each in asked] == [2, 1, 1, 1]
    assert not any(path.startswith("agents") for each in asked for path in each)


@pytest.mark.slow
def test_a_token_for_bindings_only_binds(elsewhere: Elsewhere, gateway: Run) -> None:
    elsewhere.home.activate("crm")
    elsewhere.home.agent("bot")
    token = elsewhere.token(scopes=["bindings:write", "teams:write"])
    for line in ("bind bot crm --json", "teams create sales --json"):
        made = gateway("--server", URL, *line.split(), AIG_TOKEN=token)
        assert made.code == 0, made.err
        assert made.json["agents"] == []


def test_next_steps_can_be_copied(elsewhere: Elsewhere, gateway: Run, tmp_path: Path) -> None:
    token, file = elsewhere.token(), tmp_path / "my token.txt"
    file.write_text(token)
    done = gateway("--server", f"{URL}/", "agents", "register", "bot", AIG_TOKEN=token)
    assert f"next: `gateway --server {URL} keys create bot` and `gateway --server {URL} bind bot BUNDLE`" in done.err
    done = gateway("--server", URL, "--token-file", str(file), "keys", "list")
    assert f"type `gateway --server {URL} --token-file '{file}' keys create AGENT`" in done.err
    unnamed = gateway("--server", URL, "keys", "create", AIG_TOKEN=token).complains(2)
    assert f"say whose key: `gateway --server {URL} keys create AGENT`" in unnamed
    refused = gateway("--server", URL, "keys", "rotate", "--agent", "bot", AIG_TOKEN=token).complains()
    assert f"type `gateway --server {URL} keys create bot`" in refused
    # Options that the environment gives need not be repeated; those that work elsewhere only stay, and so does a help
    # text.
    assert "type `gateway keys create AGENT`" in gateway("keys", "list", AIG_SERVER=URL, AIG_TOKEN=token).err
    assert "`gateway up` works on" in gateway("--server", URL, "up").complains(2)
    assert (
        "see `gateway agents update --help`"
        in gateway("--server", URL, "agents", "update", "bot", AIG_TOKEN=token).complains()
    )


# --- when it does not go as it should ---------------------------------------------------------------------------------


def broken(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, times: int, *, after: bool) -> Callable[[], int]:
    """Let the connection break so many times, before or after a POST has arrived; how often one was sent."""
    monkeypatch.setattr("gateway.management.http.PAUSE_SECONDS", 0.0)
    sent = 0

    def answer(_self: object, request: httpx.Request) -> httpx.Response:
        nonlocal sent
        if request.method != "POST":
            return elsewhere.answer(request)
        sent += 1
        if sent <= times and not after:
            raise httpx.ReadError("connection reset", request=request)
        response = elsewhere.answer(request)
        if sent <= times:
            raise httpx.ReadTimeout("no answer", request=request)
        return response

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    return lambda: sent


@pytest.mark.slow
def test_a_change_whose_answer_was_lost_is_made_once(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = broken(elsewhere, monkeypatch, 1, after=True)
    assert "registered agent bot" in there("agents", "register", "bot").out
    assert sent() == 2
    assert [each["name"] for each in there("agents", "list", "--json").json] == ["bot"]


@pytest.mark.slow
def test_a_key_whose_text_was_lost_can_be_revoked(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.home.agent("bot")
    broken(elsewhere, monkeypatch, 1, after=True)
    said = there("keys", "create", "bot").complains()
    lost = re.search(rf"`gateway --server {URL} keys revoke (key_\S+)`", said)
    assert "its text was lost" in said
    assert lost is not None
    assert there("keys", "revoke", lost[1]).code == 0


@pytest.mark.slow
def test_many_rotations_that_break_off_keep_the_keys_so_far(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        elsewhere.home.agent(name)
        elsewhere.home.key(name)
    first, rest = tmp_path / "first.csv", tmp_path / "rest.csv"
    with monkeypatch.context() as patch:
        patch.setattr("gateway.management.http.PAUSE_SECONDS", 0.0)
        seen: list[bytes] = []

        def answer(_self: object, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/rotate") and (request.url.raw_path not in seen[:1]):
                seen.append(request.url.raw_path)
                if len(seen) > 1:
                    raise httpx.ReadError("connection reset", request=request)
            return elsewhere.answer(request)

        patch.setattr(httpx.HTTPTransport, "handle_request", answer)
        said = there("keys", "rotate", "--all", "--out", str(first)).complains()
    assert said.startswith(f"at agent b: cannot reach {URL}: connection reset; the key that was rotated before stays")
    assert "the same command with another file rotates the rest" in said
    assert first.stat().st_mode & 0o777 == 0o600
    assert [line.partition(",")[0] for line in first.read_text().splitlines()] == ["agent", "a"]
    done = there("keys", "rotate", "--all", "--out", str(rest))
    assert "rotated 2 keys" in done.out
    assert "not rotated: agent `a` has another key" in done.err
    assert [line.partition(",")[0] for line in rest.read_text().splitlines()] == ["agent", "b", "c"]


@pytest.mark.slow
@pytest.mark.parametrize("line", ["keys rotate --agent bot --out FULL", "keys rotate --all --out FULL"])
def test_a_new_key_that_cannot_be_written_is_named(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    elsewhere.home.agent("bot")
    elsewhere.home.key("bot")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    said = there(*line.replace("FULL", str(tmp_path / "full.csv")).split()).complains()
    assert re.search(
        r"no space left on device; key key_\S+ is in force, and its text is lost: type `gateway .*keys revoke", said
    )
    assert not (tmp_path / "full.csv").exists()


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text("v: 1\nagents:\n- {name: a, team: red}\n- {name: b, parent: a}\n")
    return path


def _keys(path: Path) -> list[tuple[str, str]]:
    """The agents of a file of keys with the beginnings of their keys."""
    assert path.stat().st_mode & 0o777 == 0o600
    return [(each["agent"], each["key"][:19]) for each in csv.DictReader(path.read_text().splitlines())]


@pytest.mark.slow
def test_a_fleet_whose_answer_was_lost_is_applied_once(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fleet: Path
) -> None:
    with monkeypatch.context() as patch:
        sent = broken(elsewhere, patch, 1, after=True)
        assert there("apply", "-f", str(fleet)).err == "added 3\n"
        assert sent() == 2
    # With keys, a plan is asked for first. Its answer is lost, and so is that of the change.
    out = tmp_path / "keys.csv"
    with monkeypatch.context() as patch:
        lost = iter([True, False, True, False])

        def answer(_self: object, request: httpx.Request) -> httpx.Response:
            response = elsewhere.answer(request)
            if next(lost):
                raise httpx.ReadTimeout("no answer", request=request)
            return response

        patch.setattr(httpx.HTTPTransport, "handle_request", answer)
        done = there("apply", "-f", str(fleet), "--keys", str(out))
    assert (done.code, "wrote 2 keys" in done.err) == (0, True), done.err
    listed = there("keys", "list", "--json").json
    assert sorted(_keys(out)) == sorted((each["agent"], each["key_id"]) for each in listed)
    ids = [each["id"] for each in csv.DictReader(out.read_text().splitlines())]
    assert sorted(ids) == sorted(each["id"] for each in listed)
    assert sorted(each.name for each in tmp_path.glob("keys.csv*")) == ["keys.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("arrives", [True, False])
def test_new_keys_of_a_fleet_are_not_lost(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fleet: Path, arrives: bool
) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    with monkeypatch.context() as patch:
        patch.setattr("gateway.management.http.PAUSE_SECONDS", 0.0)

        def answer(_self: object, request: httpx.Request) -> httpx.Response:
            response = elsewhere.answer(request) if arrives or not request.url.path.endswith("/apply") else None
            if response is None or request.url.path.endswith("/apply"):
                raise httpx.ReadError("connection reset", request=request)
            return response

        patch.setattr(httpx.HTTPTransport, "handle_request", answer)
        said = there("apply", "-f", str(fleet), "--keys", str(first)).complains()
    assert (
        "connection reset; whether the file was applied is not known, so its new keys are kept: apply it again" in said
    )
    assert [name for name, _ in _keys(first)] == ["a", "b"]
    again = there("apply", "-f", str(fleet), "--keys", str(second))
    assert again.code == 0, again.err
    assert (again.err.startswith("nothing to change"), second.exists()) == (arrives, not arrives)
    in_force = {(each["agent"], each["key_id"]) for each in there("keys", "list", "--json").json}
    assert in_force == set(_keys(first if arrives else second))


@pytest.mark.slow
def test_a_fleet_that_is_refused_leaves_no_file_of_keys(
    elsewhere: Elsewhere, there: Run, gateway: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fleet: Path
) -> None:
    out = tmp_path / "keys.csv"
    narrow = elsewhere.token("ci", scopes=["agents:write", "keys:read"])
    said = gateway("--server", URL, "apply", "-f", str(fleet), "--keys", str(out), AIG_TOKEN=narrow).complains()
    assert "it may not change keys" in said
    assert not out.exists()

    def answer(_self: object, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/apply"):
            elsewhere.home.agent("a")  # somebody else is faster
        return elsewhere.answer(request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    said = there("apply", "-f", str(fleet), "--keys", str(out)).complains()
    assert said == "the registry was changed since the plan was made: apply it again"
    assert not out.exists()
    assert [each["name"] for each in there("agents", "list", "--json").json] == ["a"]


@pytest.mark.slow
def test_what_a_fleet_file_names_is_read_here_and_travels_in_bodies(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote_scripts.lay_out(tmp_path)
    elsewhere.home.activate("crm")
    monkeypatch.setenv("PROVIDERS_KEY", "sk-in-a-variable")
    secrets = ["sk-in-a-variable", "sk-of-the-provider"]
    done = there("apply", "-f", str(tmp_path / "fleet.yaml"), "--json")
    assert done.code == 0, done.err
    holding = [each for each in elsewhere.requests if any(secret.encode() in each.content for secret in secrets)]
    assert [(each.method, each.url.path) for each in holding] == [("POST", "/api/v1/fleet/apply")]
    told = [f"{each.url} {each.headers}" for each in elsewhere.requests]
    told += [done.out, done.err, there("export").out, there("audit", "list", "--json").out]
    assert not [secret for secret in secrets if secret in " ".join(told)]
    assert "crm.updateCustomer" in there("upstreams", "show", "crm", "--json").out
    assert there("apply", "-f", str(tmp_path / "fleet.yaml")).err.startswith("nothing to change")
    monkeypatch.setenv("PROVIDERS_KEY", "sk-another")
    assert "another key" in there("apply", "-f", str(tmp_path / "fleet.yaml"), "--dry-run").out


@pytest.mark.slow
def test_a_token_for_agents_applies_a_file_of_agents(elsewhere: Elsewhere, gateway: Run, fleet: Path) -> None:
    token = elsewhere.token(scopes=["agents:write"])
    done = gateway("--server", URL, "apply", "-f", str(fleet), AIG_TOKEN=token)
    assert (done.code, done.err) == (0, "added 3\n")
    assert "may not read organizations" in gateway("--server", URL, "export", AIG_TOKEN=token).complains()
    fleet.write_text("v: 1\nlimits:\n- {organization: true, limit: requests_per_day, value: 1}\n")
    assert "may not read limits" in gateway("--server", URL, "apply", "-f", str(fleet), AIG_TOKEN=token).complains()


@pytest.mark.slow
def test_a_token_whose_text_was_lost_can_be_revoked(
    elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    there("operators", "add", "anna", "--role", "viewer")
    broken(elsewhere, monkeypatch, 1, after=True)
    said = there("operators", "token", "create", "anna").complains()
    lost = re.search(r"operators token revoke (otk_\S+)`", said)
    assert "its text was lost" in said
    assert lost is not None
    assert there("operators", "token", "revoke", lost[1]).code == 0


@pytest.mark.slow
def test_nobody_gives_more_than_it_has(elsewhere: Elsewhere, gateway: Run) -> None:
    narrow = elsewhere.token(scopes=["operators:write", "agents:read"])
    stranger = elsewhere.token("anna", "owner", ORG)
    admin = elsewhere.token("adam", "admin")

    def run(token: str, *line: str) -> Done:
        return gateway("--server", URL, "operators", *line, AIG_TOKEN=token)

    assert run(narrow, "add", "bob", "--role", "owner").code == 0
    for scopes in ((), ("--scope", "agents:write"), ("--scope", "read")):
        assert "makes only tokens for some of these" in run(narrow, "token", "create", "bob", *scopes).complains()
    assert run(narrow, "token", "create", "bob", "--scope", "agents:read").code == 0
    assert "may not change operators" in run(admin, "add", "eve", "--role", "viewer").complains()
    # An owner of an organization sees and makes operators of that one only.
    assert "of organization default" in run(stranger, "add", "eve", "--role", "owner").out
    assert [each["name"] for each in run(stranger, "list", "--json").json] == ["anna", "eve"]
    assert "unknown operator `olga`" in run(stranger, "update", "olga", "--role", "viewer").complains()


@pytest.mark.slow
def test_a_gateway_that_cannot_be_reached(elsewhere: Elsewhere, there: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(elsewhere, monkeypatch, 99, after=False)
    said = there("agents", "register", "bot").complains()
    assert said.startswith(f"cannot reach {URL}: connection reset")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("response", "says"),
    [
        (
            httpx.Response(302, headers={"location": "https://evil.example/api/v1/me"}),
            "a redirect, which is not followed",
        ),
        (httpx.Response(404, text="not here"), "does not answer as a control API"),
        (httpx.Response(200, text="<html>"), "does not answer as a control API"),
        (httpx.Response(200, json={"status": "ok", "organization": None}), "does not answer as a control API"),
        (httpx.Response(500, headers={"content-type": "application/problem+json"}, text="["), "does not answer as a"),
    ],
    ids=["redirect", "other", "page", "json", "broken"],
)
def test_what_is_no_control_api(
    there: Run, monkeypatch: pytest.MonkeyPatch, response: httpx.Response, says: str
) -> None:
    asked: list[httpx.URL] = []

    def answer(_self: object, request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    assert says in there("agents", "list").complains()
    assert {each.host for each in asked} == {"gw.example"}


@pytest.mark.slow
def test_a_wrong_token(elsewhere: Elsewhere, gateway: Run) -> None:
    token = elsewhere.token()
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    for text, says in [
        (wrong, "what AIG_TOKEN holds is not an operator's token"),
        (elsewhere.home.key() if elsewhere.home.agent() else "", "is an agent's key, which opens nothing here"),
    ]:
        said = gateway("--server", URL, "agents", "list", AIG_TOKEN=text).complains()
        assert says in said
        assert text not in said
    assert elsewhere.requests == []
    operators.revoke_operator(elsewhere.home.registry, actor=ACTOR, organization=None, operator="olga")
    said = gateway("--server", URL, "agents", "list", AIG_TOKEN=token).complains()
    assert f"{URL} does not take the token" in said
    assert f"`gateway login --server {URL}`" in said
    assert token not in said


@pytest.mark.slow
def test_the_secret_of_a_key_is_not_sent(elsewhere: Elsewhere, there: Run) -> None:
    elsewhere.home.agent("bot")
    text = there("keys", "create", "bot").out.strip()
    assert there("keys", "rotate", text).code == 0
    assert there("keys", "revoke", text).code == 0
    assert not any(text[-40:] in str(each.url) or text[-40:].encode() in each.content for each in elsewhere.requests)


# --- which gateway is meant -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (("--server", URL, "agents", "list", "--data", "x"), {}, "--server and --data exclude each other"),
        (("--server", URL, "audit", "verify"), {}, "`gateway audit verify` works on the gateway's own machine only"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (("--server", URL, "up"), {}, "`gateway up` works on the gateway's own machine only"),
                (("--server", URL, "demo"), {}, "`gateway demo` has nothing to do with a server"),
                (("--server", "http://gw.example:8081", "agents", "list"), {}, "everybody on the way could read"),
                (("--token-file", "t", "agents", "list"), {}, "need --server"),
                (("agents", "list"), {"AIG_SERVER": URL, "AIG_DATA": "x"}, "AIG_DATA exclude each other"),
                (("audit", "verify"), {"AIG_SERVER": URL}, "unset AIG_SERVER"),
                (("whoami",), {}, "say which gateway is meant"),
            ]
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_line(
    offline: None, gateway: Run, arguments: tuple[str, ...], variables: dict[str, str], says: str
) -> None:
    assert says in gateway(*arguments, **variables).complains(2)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("gw.example:8081", "begins with https://"),
        ("127.0.0.1:8081", "begins with https://: write http://127.0.0.1:8081"),
        ("https://u:geheim@gw.example", "must not contain a credential"),
        ("https://gw.example/api", "must end with the host and the port"),
        ("https://gw.example:8081?x=1", "must end with the host and the port"),
        ("https://gw.example:99999", "the host or the port"),
        ("https://", "the host"),
        ("https://gw example", "the host"),
        ("ftp://gw.example", "ftp:// is not supported"),
        ("http://gw.example:8081", "everybody on the way could read the token"),
        ("http://127.0.0.1.gw.example", "everybody on the way could read the token"),
        ("http://192.168.0.7", "everybody on the way could read the token"),
    ],
)
def test_an_address_that_is_not_taken(address: str, says: str) -> None:
    with pytest.raises(GatewayError) as caught:
        servers.origin(address, insecure_http=False)
    assert says in f"{caught.value.message}: {caught.value.hint}"
    assert "geheim" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://GW.example:443/", "https://gw.example"),
        ("https://gw.example:8081", URL),
        ("http://localhost:8081", "http://localhost:8081"),
        ("http://127.0.0.9", "http://127.0.0.9"),
        ("http://[::1]:8081", "http://[::1]:8081"),
    ],
)
def test_an_address_has_one_form(address: str, origin: str) -> None:
    assert servers.origin(address, insecure_http=False) == origin
    assert servers.origin("http://gw.example", insecure_http=True) == "http://gw.example"


@pytest.mark.slow
def test_a_named_directory_counts_more_than_the_environment(home: Home, elsewhere: Elsewhere, gateway: Run) -> None:
    storage.create(home.data)
    home.agent("local-bot")
    done = gateway("agents", "list", "--data", str(home.data.path), AIG_SERVER=URL)
    assert "local-bot" in done.out
    assert elsewhere.requests == []
    token = elsewhere.token()
    done = gateway("--server", URL, "agents", "list", AIG_DATA=str(home.data.path), AIG_TOKEN=token)
    assert "no agents yet" in done.err


# --- login ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_logging_in_and_out(elsewhere: Elsewhere, gateway: Run, tmp_path: Path) -> None:
    token, file = elsewhere.token("dana", "auditor", ORG, lifetime_ns=3600 * 10**9), tmp_path / "token.txt"
    file.write_text(f"{token}\n")
    done = gateway("login", "--server", f"{URL}/", "--token-file", str(file))
    assert done.code == 0, done.err
    assert f"logged in to {URL} as auditor dana of organization default, until 2" in done.out
    stored = list((tmp_path / "config" / "agent-identity-gateway").iterdir())
    assert [(each.stat().st_mode & 0o777, token in each.read_text()) for each in stored] == [(0o600, True)]
    assert stored[0].parent.stat().st_mode & 0o077 == 0
    assert gateway("agents", "list", AIG_SERVER=URL).code == 0
    shown = gateway("whoami", "--server", URL)
    assert "dana" in shown.out
    assert token not in done.out + done.err + shown.out
    assert gateway("--server", URL, "whoami", "--json").json["operator"]["role"] == "auditor"
    assert "may not change agents" in gateway("--server", URL, "agents", "register", "bot").complains()
    assert f"logged out from {URL}" in gateway("logout", "--server", URL).out
    assert f"there is no login for {URL}" in gateway("logout", "--server", URL).out
    assert f"there is no token for {URL}" in gateway("--server", URL, "agents", "list").complains()


@pytest.mark.slow
def test_a_token_that_does_not_work_is_not_kept(elsewhere: Elsewhere, gateway: Run, tmp_path: Path) -> None:
    token, file = elsewhere.token(), tmp_path / "token.txt"
    operators.revoke_operator(elsewhere.home.registry, actor=ACTOR, organization=None, operator="olga")
    file.write_text(token)
    said = gateway("login", "--server", URL, "--token-file", str(file)).complains()
    assert "does not take the token" in said
    assert token not in said
    assert not (tmp_path / "config").exists()


@pytest.mark.slow
def test_a_login_that_others_can_read_is_refused(elsewhere: Elsewhere, gateway: Run, tmp_path: Path) -> None:
    file = tmp_path / "token.txt"
    file.write_text(elsewhere.token())
    gateway("login", "--server", URL, "--token-file", str(file))
    (stored,) = (tmp_path / "config" / "agent-identity-gateway").iterdir()
    stored.chmod(0o644)
    assert "is open to other users" in gateway("--server", URL, "agents", "list").complains()
    # Another login takes its place.
    assert gateway("login", "--server", URL, "--token-file", str(file)).code == 0
    assert stored.stat().st_mode & 0o777 == 0o600
    assert gateway("--server", URL, "agents", "list").code == 0
