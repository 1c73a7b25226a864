"""The audit log and usage over the control API: pages into the past, one decision, checkpoints; nothing of others."""

from __future__ import annotations

import base64
import itertools
import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.audit import note, signer, verify
from gateway.audit.evidence import verify as evidence
from gateway.audit.writer import AuditWriter
from gateway.identifiers import new_id
from tests.gateway.cli import remote_scripts
from tests.gateway.control.conftest import Client, Control

OURS = "dec_00000000-0000-7000-8000-000000000002"
THEIRS = "dec_00000000-0000-7000-8000-000000000001"


@pytest.fixture
def owner(control: Control) -> Client:
    """A gateway whose organizations `default` and `acme` have made calls."""
    found = control.operator()
    found("POST", "/organizations", {"name": "acme"}).ok(201)
    remote_scripts.fill(control.home.data)
    return found


@pytest.fixture
def acme(control: Control, owner: Client) -> Client:
    return control.operator("anna", "auditor", "acme")


def everything(client: Client, **query: str) -> list[tuple[str, int]]:
    """The entries, page by page from the newest one back."""
    found: list[tuple[str, int]] = []
    page: dict[str, Any] = {"older": None}
    while True:
        before = {} if page["older"] is None else {"before": page["older"]}
        page = client("GET", "/audit/entries", limit="2", **query, **before).ok()
        found = [(each["organization"], each["seq"]) for each in page["items"]] + found
        if page["older"] is None:
            return found


def test_pages_into_the_past_have_every_entry_once(owner: Client, acme: Client) -> None:
    whole = owner("GET", "/audit/entries", limit="500", everywhere="true").ok()
    listed = [(each["organization"], each["seq"]) for each in whole["items"]]
    assert {name for name, _ in listed} == {"default", "acme", "system"}
    assert everything(owner, everywhere="true") == listed
    mine = [("acme", seq) for seq in range(sum(name == "acme" for name, _ in listed))]
    assert everything(owner, organization="acme") == mine
    assert everything(acme) == everything(acme, everywhere="true") == mine
    assert everything(acme, id="dec_") == mine[-2:]
    assert everything(acme, kind="decided", agent="agt_one") == []
    page = owner("GET", "/audit/entries", limit="1").ok()
    both = owner("GET", "/audit/entries", before=page["older"], cursor=page["next"])
    assert both.problem(400) == "invalid_parameter"
    assert acme("GET", "/audit/entries", before=page["older"]).problem(400) == "invalid_cursor"


@pytest.mark.slow
def test_an_agent_is_named_and_persons_are_found(control: Control, owner: Client, acme: Client) -> None:
    control.home.agent("bob")
    assert owner("GET", "/audit/entries", agent="bob", kind="decided").ok()["items"] == []
    assert owner("GET", "/audit/entries", agent="bobby").problem(422) == "unknown_agent"
    assert "bob" not in acme("GET", "/audit/entries", agent="bobby").raw.decode().replace("bobby", "")
    assert owner("GET", "/audit/entries", person="somebody", kind="decided").ok()["items"] == []
    ended = owner("GET", "/audit/entries", kind="completed").ok()["items"]
    assert [each["agent_name"] for each in ended] == ["bob"]


def test_one_decision_with_all_that_is_kept(owner: Client, acme: Client) -> None:
    found = owner("GET", f"/audit/entries/{THEIRS}").ok()["decision"]
    assert found["decided"]["agent_name"] == "bob"
    assert found["completed"]["entry"]["outcome"] == "ok"
    assert found["input"] == {"agent": {"id": "agt_one"}}
    assert (found["judged_again"], found["problem"]) == (None, "no bundle was asked")
    assert acme("GET", f"/audit/entries/{OURS[4:]}").ok()["entry"]["id"] == OURS
    # The beginning of an id means one of this organization, however many others have.
    assert acme("GET", "/audit/entries/dec_0000").ok()["entry"]["id"] == OURS
    assert owner("GET", "/audit/entries/dec_0000").problem(422) == "ambiguous_event"
    assert owner("GET", "/audit/entries/dec_0000", organization="acme").ok()["entry"]["id"] == OURS
    for wanted in (THEIRS, THEIRS[4:], THEIRS[:-1] + "3", THEIRS.replace("dec_", "end_")):
        refused = acme("GET", f"/audit/entries/{wanted}")
        assert refused.problem(404) == "unknown_event"
        assert THEIRS not in refused.raw.decode().replace(wanted, "")


@pytest.mark.slow
def test_a_checkpoint_to_keep_elsewhere(control: Control, owner: Client, acme: Client) -> None:
    assert acme("GET", "/audit/checkpoint").problem(404) == "no_checkpoint"
    assert acme("GET", "/audit/checkpoint", organization="default").problem(404) == "unknown_organization"
    data = control.home.data
    writer = AuditWriter(data, boot=new_id("boot"), deployment="test")
    with signer.HeadSigner(data) as each:
        each.sign_all(writer)
    writer.close()
    found = acme("GET", "/audit/checkpoint").ok()
    verifier = note.parse_verifier(found["public_key"])
    report = verify.verify(data.audit_db, verifier, known=[found["checkpoint"]])
    assert report.status != "tampered"
    assert found["checkpoint"].startswith("test/acme")
    assert owner("GET", "/audit/checkpoint", organization="system").ok()["checkpoint"].startswith("test/system")


def test_usage_of_one_organization_and_of_all(control: Control, owner: Client, acme: Client) -> None:
    rows = owner("GET", "/usage", by="organization,agent").ok()["items"]
    assert [each["key"] for each in rows] == [["acme", "eve"], ["default", "bob"]]
    assert rows[0]["counts"]["output"] == 34
    assert [each["key"] for each in acme("GET", "/usage", by="organization,agent").ok()["items"]] == [["acme", "eve"]]
    assert acme("GET", "/usage", by="").ok()["items"][0]["counts"]["requests"] == 1
    assert acme("GET", "/usage", organization="default").problem(404) == "unknown_organization"
    refused = acme("GET", "/usage", agent="bobb")
    assert refused.problem(422) == "unknown_agent"
    assert "`bob`" not in refused.raw.decode()
    assert acme("GET", "/usage", agent="agt_one").problem(422) == "unknown_agent"  # that of others
    now = datetime.fromtimestamp(time.time(), UTC).isoformat()
    at = owner("GET", "/usage", by="team", at=now).ok()["items"]
    assert ("month", 2) in [(each["window"], each["counts"]["requests"]) for each in at]
    for wrong in ({"by": "agents"}, {"at": now, "since": now}, {"zone": "Mars"}, {"since": "yesterday"}):
        assert owner("GET", "/usage", **wrong).status == 422


@pytest.mark.slow
def test_who_may_read_usage(control: Control, owner: Client) -> None:
    viewer = control.operator("vera", "viewer")
    assert viewer("GET", "/usage").status == 200
    assert viewer("GET", f"/audit/entries/{THEIRS}").problem(403) == "forbidden"
    assert viewer("GET", "/audit/checkpoint").problem(403) == "forbidden"
    narrow = control.operator("carl", "auditor", scopes=["usage:read"])
    assert narrow("GET", "/usage").status == 200
    assert narrow("GET", "/audit/entries").problem(403) == "token_scope"
    assert narrow("GET", "/agents").problem(403) == "token_scope"


# --- where an operator of one organization may have the gateway call -------------------------------------------------


DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {"/customers/{id}": {"get": {"operationId": "getCustomer", "responses": {"200": {"description": "it"}}}}},
}


INSIDE = [
    "http://127.0.0.1:8081/v1",
    "https://127.0.0.1:8081/v1",
    "https://10.1.2.3/v1",
    "https://169.254.169.254/latest",
    "https://[::ffff:10.0.0.1]/v1",
    "https://[::1]/v1",
    "https://100.100.100.200/v1",
    "https://localhost/v1",
    "https://vault/v1",
    "https://localhost.localdomain/v1",
    "https://ollama.models.svc/v1",
    "https://metadata.google.internal/v1",
    "https://printer.local/v1",
    "http://api.example.com/v1",
]


def test_a_tenant_names_no_place_inside(control: Control) -> None:
    control.operator()("POST", "/organizations", {"name": "acme"}).ok(201)
    admin = control.operator("adam", "admin", "acme")
    for url, insecure in itertools.product(INSIDE, (False, True)):
        body = {"name": "x", "provider": "openai-compatible", "base_url": url, "secret": None, "insecure": insecure}
        assert admin("POST", "/upstreams", body).problem(403) == "forbidden"
    assert admin("GET", "/upstreams").ok()["items"] == []
    # The address of a name is seen when a connection is made, and the operator who added the upstream counts then.
    outside = {"name": "x", "provider": "openai-compatible", "base_url": "https://llm.example/v1", "secret": None}
    admin("POST", "/upstreams", outside).ok(201)
    control.operator("olga2")("POST", "/upstreams", outside | {"name": "y"}, organization="acme").ok(201)
    with closing(sqlite3.connect(control.home.data.registry_db)) as db:
        assert dict(db.execute("SELECT name, reach FROM upstream").fetchall()) == {"x": "public", "y": "anywhere"}


@pytest.mark.slow
def test_a_json_api_is_added_and_replaced(control: Control, owner: Client) -> None:
    admin = control.operator("adam", "admin", "acme")
    body: dict[str, Any] = {"name": "crm", "provider": "http", "base_url": "https://crm.example/v1", "secret": "sk-x"}
    assert admin("POST", "/upstreams", body).problem(422) == "invalid_openapi"
    assert admin("POST", "/upstreams", body | {"openapi": {"openapi": "3.1.0"}}).problem(422) == "invalid_openapi"
    made = admin("POST", "/upstreams", body | {"openapi": DOCUMENT})
    assert made.ok(201)["has_secret"]
    assert "sk-x" not in made.raw.decode()
    (shown,) = admin("GET", "/upstreams/crm/operations").ok()["items"]
    assert shown == {"action": "crm.getCustomer", "method": "GET", "path": "/crm/customers/{id}", "params": ["id"]}
    assert owner("GET", "/upstreams/crm/operations").problem(404) == "unknown_upstream"
    changed = {name: value for name, value in body.items() if name != "name"} | {"secret": None}
    wrong = admin(
        "PUT", "/upstreams/crm", changed | {"provider": "vllm", "openapi": DOCUMENT}, headers={"if-match": "*"}
    )
    assert wrong.problem(422) == "invalid_openapi"
    replaced = admin("PUT", "/upstreams/crm", changed | {"openapi": DOCUMENT}, headers={"if-match": "*"}).ok()
    assert (replaced["version"], replaced["has_secret"]) == (2, False)
    inside = changed | {"openapi": DOCUMENT, "base_url": "https://10.0.0.1"}
    assert admin("PUT", "/upstreams/crm", inside, headers={"if-match": "*"}).problem(403) == "forbidden"
    assert admin("DELETE", "/upstreams/crm", reason="over").ok()["name"] == "crm"
    (last,) = owner("GET", "/audit/entries", organization="acme", limit="1").ok()["items"]
    assert (last["entry"]["what"], last["entry"]["reason"]) == ("upstream.removed", "over")


@pytest.mark.slow
def test_a_document_that_would_grow_is_refused(owner: Client) -> None:
    members = {f"m{number}": {"type": "string"} for number in range(1_000)}
    part = {"requestBody": {"content": {"application/json": {"schema": {"properties": {"a": {"$ref": "#/large"}}}}}}}
    paths = {f"/p{number}": {"post": {"operationId": f"o{number}", **part}} for number in range(600)}
    document = {"openapi": "3.1.0", "paths": paths, "large": {"properties": members}}
    body = {"name": "crm", "provider": "http", "base_url": "https://crm.example", "secret": None, "openapi": document}
    refused = owner("POST", "/upstreams", body)
    assert refused.problem(422) == "invalid_openapi"
    assert "declare more than" in refused.json["detail"]
    assert len(json.dumps(document)) < 200_000
    longer = owner("POST", "/upstreams", body | {"reason": "x" * 5_000_000})
    assert longer.problem(413) == "too_large"
    assert owner("POST", "/teams", {"name": "a", "description": "x" * 300_000}).problem(413) == "too_large"


def test_an_evidence_bundle_comes_over_the_api_and_only_of_ones_own_log(
    control: Control, owner: Client, acme: Client
) -> None:
    verifier = signer.load_verifier(signer.public_key_path(control.home.data))
    made = AuditWriter(control.home.data, boot=new_id("boot"), deployment=verifier.name)
    with closing(made) as writer, signer.HeadSigner(control.home.data) as each:
        each.sign_all(writer)
    bundles = {}
    for name, client in (("default", owner), ("acme", acme)):
        answer = client("GET", "/audit/evidence").ok()
        bundles[name] = evidence.Bundle(base64.b64decode(answer["bundle"]), str(verifier))
        bundles[name].verify()
        assert answer["entries"] == len(bundles[name].entries) > 0
    # Who may not read the log of the gateway gets nothing of it.
    assert {each["org"] for each in bundles["default"].entries.values()} == {"default", "system"}
    assert {each["org"] for each in bundles["acme"].entries.values()} == {"acme"}
    assert acme("GET", "/audit/evidence", organization="default").problem(404) == "unknown_organization"
    assert owner("GET", "/audit/evidence", sample="3").problem(400) == "invalid_parameter"
