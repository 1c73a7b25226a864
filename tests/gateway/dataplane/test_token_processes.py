"""Tokens end to end: two workers, the `openai` package, a command that takes a key away, and a mere HTTP client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from gateway.identity import jose
from tests.gateway.dataplane.processes import Live, write_policy

pytestmark = pytest.mark.slow

HELLO: Any = [{"role": "user", "content": "hello there"}]
CONNECTIONS = 24  # of their own: the kernel spreads them over both workers
POLICY = """\
package bot.authz

default allow := false

allow if startswith(input.resource.model, "gpt-4o")

deny contains "a short-lived token is needed" if input.agent.credential.strength < 3

deny contains "only on behalf of the bot" if {
	input.agent.name == "worker"
	not input.agent.delegation[0].name == "bot"
}
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("live"))
    try:
        # A directory of an earlier version has no key for tokens.
        (found.data / "keys" / "token.1").unlink()
        with (found.data / "gateway.toml").open("a") as file:
            file.write("token_lifetime = 600\n")
        write_policy(found.data / "policies", POLICY)
        found.run("agents", "register", "worker")
        found.run("bind", "worker", "starter")
        found.start("--workers", "2")
        yield found
    finally:
        found.close()


def gateway(live: Live) -> str:
    return live.base_url.removesuffix("/v1")


def ask(live: Live, key: str, **form: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{gateway(live)}/oauth/token", headers=headers, data=form, timeout=300)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def statuses(live: Live, token: str) -> set[int]:
    """Calls with a token on many connections, each made after the one before was answered."""
    found = set()
    for _ in range(CONNECTIONS):
        with openai.OpenAI(base_url=live.base_url, api_key=token, max_retries=0, timeout=300) as client:
            try:
                client.chat.completions.create(model="gpt-4o", messages=HELLO)
                found.add(200)
            except openai.APIStatusError as error:
                found.add(error.status_code)
    return found


def test_every_worker_takes_a_token_and_refuses_a_dead_one(live: Live) -> None:
    key = live.run("keys", "create", "worker").strip()
    assert statuses(live, key) == {403}  # the policy demands a token, and somebody behind it
    form = {"grant_type": "client_credentials", "requested_actor": "worker"}
    granted = ask(live, live.key, **form)
    token = ask(
        live,
        key,
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=granted["access_token"],
        subject_token_type=granted["issued_token_type"],
    )["access_token"]
    assert statuses(live, token) == {200}
    live.run("agents", "suspend", "bot")
    assert statuses(live, token) == {401}
    live.run("agents", "resume", "bot")
    assert statuses(live, token) == {200}
    live.run("keys", "revoke", key)
    assert statuses(live, token) == {401}
    decided = [each for each in live.entries() if each["kind"] == "decided" and each.get("delegation_json")]
    assert len(decided) == 2 * CONNECTIONS
    assert {(each["agent_name"], each["credential_strength"]) for each in decided} == {("worker", 3)}
    assert all('"name":"bot"' in each["delegation_json"] for each in decided)


def test_a_program_can_make_its_tokens_when_it_needs_them(live: Live) -> None:
    asked = []

    def token() -> str:
        asked.append(ask(live, live.key, grant_type="client_credentials")["access_token"])
        return str(asked[-1])

    with openai.OpenAI(base_url=live.base_url, api_key=token, max_retries=0, timeout=300) as client:
        for _ in range(2):
            assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices[0].message.content
        with client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True) as stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert len(set(asked)) == 3


def test_anthropic_s_package_takes_one(live: Live) -> None:
    made = ask(live, live.key, grant_type="client_credentials")["access_token"]
    client = anthropic.Anthropic(base_url=gateway(live), auth_token=made, max_retries=0, timeout=300)
    # This gateway has no upstream of theirs; the token is what is tried here, in the header of their package.
    with client, pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="gpt-4o", max_tokens=5, messages=HELLO)


def test_every_worker_signs_with_a_new_key_and_distrusts_a_leaked_one(live: Live) -> None:
    """The bot's tokens, over many connections. The gateway is not restarted, and nothing is waited for."""
    old = ask(live, live.key, grant_type="client_credentials")["access_token"]
    assert statuses(live, old) == {200}
    assert live.run("tokens", "rotate-key") == "key 2 signs tokens now\n"
    new = [ask(live, live.key, grant_type="client_credentials")["access_token"] for _ in range(CONNECTIONS)]
    signers = {json.loads(live.run("tokens", "keys", "--json"))[0]["kid"]}
    assert {jose.parse(each).kid for each in new} == signers
    assert statuses(live, old) == statuses(live, new[0]) == {200}
    live.run("tokens", "rotate-key", "--at-once", "--reason", "it was in a ticket")
    assert statuses(live, old) == statuses(live, new[0]) == {401}
    assert statuses(live, ask(live, live.key, grant_type="client_credentials")["access_token"]) == {200}
    assert [each["number"] for each in json.loads(live.run("tokens", "keys", "--json"))] == [3]
