"""Commands to a gateway here and elsewhere (`test_remote.py`): the log, usage, and where calls and news go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from typer.main import get_command

from gateway.audit import signer
from gateway.audit.intents import Completed, Decided
from gateway.audit.writer import AuditWriter
from gateway.cli import build, remote
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.identity.principals import CredentialRow, principal_of
from gateway.registry.policies import activations
from gateway.registry.publication import publish
from gateway.runtime.legacy_clients import LegacyClients
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import ORG, Home

MONTH: Final = f"{datetime.now(UTC):%Y-%m}"

SCRIPTS: Final = {
    "log": f"""
        orgs create acme
        audit list --kind decided
        audit list --kind decided --org default --json
        audit list --denied --since 1h
        audit list --denied --decision allow
        audit list --decision allow --model gpt-4o
        audit list --agent agt_two --kind completed
        audit list --agent nobody
        audit list --person somebody
        audit list --reason polcy_denied
        audit list --kind decided --limit 1
        audit list --kind decided --until 2001-01-01
        audit list --id dec_00000000-0000-7000-8000-000000000002
        audit list --id dec_0000 --org acme
        audit list --id de --limit 2
        audit show dec_00000000-0000-7000-8000-000000000001
        audit show dec_00000000-0000-7000-8000-000000000001 --json
        audit show 00000000-0000-7000-8000-000000000003
        audit show end_00000000-0000-7000-8000-000000000001 --json
        audit show dec_00000000
        audit show dec_00000000-0000-7000-8000-000000000009
        explain dec_00000000-0000-7000-8000-000000000001
        explain dec_00000000-0000-7000-8000-000000000003 --json
        audit explain end_00000000-0000-7000-8000-000000000001
        explain dec_00000000-0000-7000-8000-000000000009
        audit checkpoint
        audit checkpoint --org system
        audit prove dec_00000000-0000-7000-8000-000000000001 --public-key ../other.pub
        audit access bob
        audit access bob --since 90d --json
        audit access nobody
        audit access bob --since later
        audit export --to ../other.pub
        audit report --framework soc3
        audit prove
        audit prove --known-checkpoint ../none.txt --public-key ../other.pub
        audit prove dec_0000 --public-key ../other.pub
        audit prove dec_00000000-0000-7000-8000-000000000001 --public-key ../key.txt
        audit export --sample 3 --to NEW.zip
        audit export --decision dec_00000000-0000-7000-8000-000000000009 --to NEW.zip
        audit export --decision dec_00000000-0000-7000-8000-000000000001 --no-private --to NEW.zip
        usage
        usage --by agent,team,model,response_model --format csv
        usage --by organization --format json
        usage --by upstream,provider,day --only organization=acme
        usage --only agent=bob
        usage --only agent=bobby
        usage --by teem
        usage --at 2001-01-01
        usage --since 2001-01-01 --until 2001-02-01 --zone Europe/Zurich
        usage --since 2002-01-01 --until 2001-02-01
        usage --zone Europe/Zuerich
        usage --by model --chart cost
        usage reconcile ../invoice.csv --provider openai --month {MONTH}
        upstreams add openai --key-env PROVIDERS_KEY
        usage reconcile ../invoice.csv --provider openai --month {MONTH}
        usage reconcile ../invoice.csv --provider openai --month {MONTH} --json
        usage reconcile ../invoice.csv --provider openai --month {MONTH} --upstream other
        usage reconcile ../dear.csv --provider openai --month {MONTH} --upstream openai --upstream other
        usage reconcile ../dear.csv --provider opnai --month {MONTH}
        usage reconcile ../dear.csv --provider openai --month 2001-12
        usage reconcile ../dear.csv --provider openai --month 2001-13
        usage reconcile ../none.csv --provider openai --month {MONTH}
        """,
    "upstreams": """
        upstreams list
        upstreams add openai --key-env PROVIDERS_KEY --reason first
        upstreams add openai --key-env PROVIDERS_KEY
        upstreams add opena --key-env PROVIDERS_KEY
        upstreams add openai --key-env NO_SUCH_KEY --replace
        upstreams add openai --no-key --key-file ../key.txt
        upstreams add Bad! --no-key --base-url https://bad.example/v1 --replace
        upstreams add local --no-key --base-url http://127.0.0.1:11434/v1 --json
        upstreams add near --no-key --base-url http://10.0.0.1/v1
        upstreams add near --no-key --base-url http://10.0.0.1/v1 --insecure --header x-team:red --header X-Team:blue
        upstreams add near --no-key --base-url http://10.0.0.1/v1 --insecure --default
        upstreams add crm --openapi ../crm.yaml --base-url https://crm.example/v1 --key-file ../key.txt
        upstreams add crm --openapi ../crm.yaml --base-url https://crm.example/v2 --no-key --replace --json
        upstreams add erp --openapi ../bad.yaml --base-url https://erp.example --no-key
        upstreams add erp --openapi ../none.yaml --base-url https://erp.example --no-key
        upstreams add erp --provider http --base-url https://erp.example --no-key
        upstreams add erp --base-url https://erp.example/v1 --no-key --replace
        upstreams list
        upstreams list --json
        upstreams show crm
        upstreams show openai --json
        upstreams show opnai
        upstreams check local --reason first
        upstreams check lcal
        routes list
        routes set chat openai:3,erp:1 near --model near:gpt-4o=big --reason spread
        routes set chat openai erp --default --json
        routes set chat openai,opena
        routes set chat openai:0
        routes set chat openai:999999999
        routes set chat openai openai
        routes set openai erp
        routes set Chat openai
        routes set mixed openai,crm
        routes list
        routes list --json
        routes show chat
        routes show chat --json
        routes show chta
        upstreams add tracker --provider mcp --no-key --base-url http://127.0.0.1:9/mcp --trust approve
        upstreams add vllm --no-key --base-url http://127.0.0.1:9/v1 --trust trust
        tools list
        tools list tracker --waiting --json
        tools list local
        tools look tracker --reason first
        tools look local
        tools show tracker find
        tools show trackr find
        tools approve tracker find
        tools approve tracker --all
        tools approve tracker
        agents register seller
        agents card seller
        agents publish seller --endpoint https://seller.example/a2a --skill order=Sells --description X --reason why
        agents publish seller --endpoint https://seller.example/a2a --skill order
        agents publish sellr --endpoint https://seller.example/a2a
        agents card seller
        agents card-keys
        agents withdraw seller --reason over
        agents withdraw seller
        upstreams add seller2 --provider a2a --base-url https://seller.example/a2a --no-key
        upstreams remove near --reason gone
        upstreams remove near
        upstreams remove local --json
        routes remove chat --reason over --json
        routes remove chat
        """,
    "issuers": """
        agents register robot
        issuers list
        issuers add ci --issuer https://ci.example --audience gateway --json
        issuers add ci --issuer https://ci.example --audience gateway
        issuers add other --issuer https://ci.example --audience gateway
        issuers add files --issuer https://files.example --audience gateway --jwks-file ../keys.json
        issuers add files2 --issuer https://files.example --audience gateway2 --jwks-file ../key.txt
        issuers add files2 --issuer https://files.example --audience gateway2 --jwks-file ../none.json
        issuers add files2 --issuer https://f.example --audience g --jwks-file ../keys.json --jwks-url https://f.example
        issuers add plain --issuer http://plain.example --audience gateway
        issuers add near --issuer http://127.0.0.1:9000 --audience gateway --insecure
        issuers add-persons people --issuer https://login.example --audience app --claim groups --max-age 8h
        issuers add-persons folk --issuer https://folk.example --audience app --algorithm ES256 --json
        issuers add-persons late --issuer https://late.example --audience app --max-age 30d
        issuers rule list
        issuers rule add ci --claim repository=acme/app --agent robot --json
        issuers rule add ci --claim repository=acme/app --agent robot
        issuers rule add ci --agent robot
        issuers rule add ci --claim repository --agent robot
        issuers rule add ic --claim repository=acme/app --agent robot
        issuers rule add people --agent robot
        issuers rule add people --agent robto
        issuers rule list
        issuers rule list ci --json
        issuers rule list ic
        issuers rule remove rul_nothing
        issuers list
        issuers list --json
        issuers update ci --jwks-file ../keys.json --reason rotated
        issuers update ci --jwks-url https://ci.example/keys --json
        issuers update ci --jwks-url http://ci.example/keys
        issuers update ci --jwks-file ../key.txt
        issuers update ci --discover --jwks-url https://ci.example/keys
        issuers update ci --discover
        issuers update ci
        issuers update ci --max-age 1h
        issuers update ic --discover
        issuers update people --max-age 10m --algorithm EdDSA --claim team --claim groups
        issuers update people --no-claims --json
        issuers update people --no-claims --claim team
        issuers update people --max-age 30d
        issuers list
        issuers remove people
        issuers remove ci --json
        issuers remove ci
        """,
    "logins": """
        orgs create acme
        orgs give acme --trust-domain acme.example --reason theirs
        orgs give acme --trust-domain acme.example
        orgs give acme --issuer https://ci.example --audience acme --json
        orgs give acme --issuer https://ci.example
        orgs give acme --trust-domain Acme.example
        orgs take acme --trust-domain other.example
        orgs take acme --trust-domain acme.example --reason over
        orgs show acme
        operators login-provider list
        operators login-provider add corp --issuer https://login.example --client-id cli --reason staff --json
        operators login-provider add corp --issuer https://other.example --client-id cli
        operators login-provider add copy --issuer https://login.example --client-id cli
        operators login-provider add plain --issuer http://login.example --client-id cli
        operators login-provider add plain --issuer http://127.0.0.1:9000 --client-id cli
        operators login-provider add near --issuer http://127.0.0.1:9000 --client-id cli --insecure --scope groups
        operators login-provider add far --issuer https://far.example --client-id x --client-secret-file ../key.txt
        operators login-provider add long --issuer https://long.example --client-id cli --session 30d
        operators login-provider add long --issuer https://long.example --client-id cli --client-secret-file ../none.txt
        operators login-provider list
        operators login-provider list --json
        operators login-rule list
        operators login-rule add corp --claim groups=staff --role viewer --org acme --reason all --json
        operators login-rule add corp --claim groups=staff --role viewer --org acme
        operators login-rule remove LAST:lgr --reason over
        operators login-rule add corp --claim groups=staff --role viewer --org acme
        operators login-rule add corp --claim groups=admins --claim email_verified=true --role owner
        operators login-rule add corp --claim groups --role owner
        operators login-rule add corp --claim nonce=x --role owner
        operators login-rule add corp --role owner
        operators login-rule add crop --claim groups=staff --role owner
        operators login-rule add near --claim groups=staff --role viewer --org acne
        operators login-rule add near --claim groups=staff --role auditor --json
        operators login-rule remove LAST:lgr --json
        operators login-rule list
        operators login-rule list corp --json
        operators login-rule list crop
        operators login-rule remove lgr_nothing
        operators login-provider show corp
        operators login-provider show corp --json
        operators login-provider show crop
        operators login-provider update corp --client-id other --session 1h --scope groups --reason moved
        operators login-provider update corp --client-secret-file ../key.txt --json
        operators login-provider update corp --no-client-secret --client-secret-file ../key.txt
        operators login-provider update corp --no-client-secret
        operators login-provider update corp --session 1s
        operators login-provider update crop --session 1h
        operators login-provider show corp
        operators login-provider remove corp --reason left
        operators login-provider remove near --json
        operators login-provider remove corp
        operators login-rule list
        operators add anna --role viewer
        operators readmit anna
        operators revoke anna
        operators readmit anna --reason back --json
        operators readmit ana
        audit list --org acme --kind change
        """,
    "peers": """
        orgs create acme
        peers list
        peers keys
        peers add globex-gw --keys ../keys.json --speaks-for globex --reason contract
        peers add globex-gw --keys ../keys.json --speaks-for initech
        peers add copy --keys ../keys.json --speaks-for initech
        peers add own --keys ../keys.json --speaks-for acme
        peers add secret --keys ../key.txt --speaks-for initech
        peers add none --keys ../none.json --speaks-for initech
        peers list
        peers list --json
        peers show globex-gw
        peers show globex-gw --json
        peers show globe-gw
        peers update globex-gw
        peers update globex-gw --speaks-for globex --speaks-for globex-labs --json
        peers update globex-gw --keys ../keys.json --reason rotated
        peers update globe-gw --speaks-for globex
        upstreams add sales --provider a2a --base-url https://b.example/a2a/globex/sales --auth peer --no-check
        upstreams add sales2 --provider a2a --base-url https://b.example/rpc --auth peer --no-check
        peers disable globex-gw --reason incident
        peers disable globe-gw
        peers enable globex-gw --json
        peers remove globex-gw --reason over
        peers remove globex-gw
        peers list
        """,
    "mandates": """
        orgs create acme
        mandates list
        agents register buyer --owner ada --org acme
        agents register scout --owner dana --org acme
        mandates grant buyer --to scout --action chat.* --amount 2usd --for 8h --purpose research --org acme
        mandates grant buyer --to scout --action chat.* --amount 2usd --for 400d --purpose research --org acme
        mandates grant buyer --to globex/sales --action chat.* --amount 2usd --for 8h --purpose research --org acme
        mandates grant buyer --to buyer --action chat.* --amount 2usd --for 8h --purpose research --org acme --json
        mandates show mnd_00000000-0000-7000-8000-000000000001 --org acme
        mandates export mnd_00000000-0000-7000-8000-000000000001 --org acme
        mandates revoke mnd_00000000-0000-7000-8000-000000000001 --org acme --reason over
        """,
    "prices": """
        prices list
        prices list --json
        prices list openai
        prices list gemini --json
        prices list opnai
        prices show gpt-4o
        prices show gpt-4o --at 2026-12-24 --json
        upstreams add openai --key-env PROVIDERS_KEY
        upstreams add our-vllm --provider vllm --no-key --base-url https://vllm.example/v1
        prices show gpt-4o
        prices show gpt-4o --upstream our-vllm
        prices show gpt-4o --upstream opnai
        prices show gpt-4o-mni --upstream openai
        prices show claude-sonnet-4-5
        prices show gpt-4o --at then
        """,
    "policies": """
        policies impact ../nowhere
        policies verify-impact ../none.json --public-key ../other.pub
        policies verify-impact ../keys.json --public-key ../other.pub
        policies status
        policies status --json
        policies status ddddddd
        policies status ccccccc
        policies status cccccccc --json
        policies status dddddddddddddddddddddddddddddddddddddddd --wait 1s --json
        policies status eeeeeee
        policies status EEEEEEE --wait 60s --json
        policies status 0123456
        policies status 0123456 --wait 1s
        policies status main
        policies status --wait 5m
        policies status eeeeeee --wait long
        policies history
        policies history --json
        policies history -n 1
        """,
    "commits": """
        policies commits
        policies commits -n 1
        policies show main
        policies show main --check
        policies show main starter/authz.rego
        policies show main starter/none.rego
        policies show nowhere
        policies diff main
        policies diff main --since main
        policies diff nowhere
        policies propose starter/data.json --dir .. --branch mine --check
        policies propose starter/data.json --dir .. --branch mine --message why
        policies propose starter/data.json --dir .. --branch mine
        policies propose starter/data.json --dir .. --branch ../main
        policies propose starter/none.json --dir .. --branch other
        policies propose starter/data.json --dir .. --branch other --remove starter/.manifest
        policies diff proposals/mine
        """,
    "adoptions": """
        adopt list
        adopt status
        upstreams add openai --key-env PROVIDERS_KEY
        adopt start --upstream opena --until 5d --key-env OLD_KEY
        adopt start --upstream openai --until 5d --key-env OLD_KEY
        adopt start --upstream openai --until 5d --key-env PROVIDERS_KEY --owner dana
        adopt start --upstream openai --until 5d --key-env NO_SUCH_KEY --owner dana
        adopt start --upstream openai --until never --key-env OLD_KEY --owner dana
        adopt start --upstream openai --until 2001-01-01 --key-env OLD_KEY --owner dana
        adopt start --upstream openai --until 2y --key-env OLD_KEY --owner dana
        adopt start --upstream openai --until 5d --key-env OLD_KEY --owner dana --reason moves
        bind legacy crm
        adopt start --upstream openai --until 6d --key-env OLD_KEY --key-env OLD_KEY --json
        upstreams add spare --no-key --base-url https://spare.example/v1
        adopt start --upstream spare --until 5d --key-env OLD_KEY
        agents suspend legacy
        adopt start --upstream openai --until 5d --key-env OLD_KEY --key-env OTHER_OLD_KEY
        agents resume legacy
        adopt list
        adopt list --json
        adopt status
        adopt status --all
        adopt status --all --json
        adopt status --address 10.1.2.3
        adopt status --address 10.1
        agents show legacy
        adopt stop --upstream spare
        adopt stop --upstream openai --reason moved --json
        adopt stop
        adopt status
        """,
    "fleet": """
        export
        apply -f ../fleet.yaml --dry-run
        apply -f ../fleet.yaml --dry-run --json
        apply -f ../fleet.yaml --reason first
        apply -f ../fleet.yaml
        apply -f ../fleet.yaml --json
        apply -f ../fleet.yaml --org acme
        orgs create acme
        apply -f ../agents.csv --org acme --keys NEW.csv
        apply -f ../agents.csv --org acme --keys NEW.csv --json
        apply -f ../agents.csv --org acne
        apply -f ../more.csv --org acme --keys NEW.csv
        agents show third --org acme
        apply -f ../less.yaml --json
        apply -f ../less.yaml --prune
        apply -f ../less.yaml --prune --dry-run
        apply -f ../less.yaml --prune --yes --reason fewer --json
        apply -f ../less.yaml --prune
        apply -f ../unknown.yaml
        apply -f ../unread.yaml
        apply -f ../wrong.yaml
        apply -f ../late.yaml --dry-run
        apply -f ../late.yaml --keys NEW2.csv
        apply -f ../twice.yaml
        apply -f ../moved.yaml
        apply -f ../plain.yaml
        apply -f ../overdue.yaml
        apply -f ../key.txt
        apply -f ../none.yaml
        apply
        export
        export --json
        export --org acme
        export --org acne
        export --out NEW.yaml
        export --out ../none/fleet.yaml
        apply -f NEW.yaml
        audit list --kind change -n 100 --org default
        """,
    "approvals": """
        approvals list
        approvals list --json
        approvals list --state waiting --agent nobody
        approvals list --state asleep
        approvals show apr_nothing
        approvals show apr_nothing --call
        approvals approve apr_nothing
        approvals deny apr_nothing
        approvals deny apr_nothing --reason no
        approvals approve apr_nothing apr_none
        approvals approve apr_nothing apr_none --uses 2
        approvals deny apr_nothing apr_none --reason no
        approvals deny apr_nothing apr_none --reason no --json
        approvals deny
        approvals deny apr_nothing --all --reason no
        approvals deny apr_nothing --agent bot --reason no
        approvals deny --all
        approvals deny --all --reason no
        approvals deny --all --reason no --json
        approvals deny --all --agent nobody --reason no
        approvals revoke apr_nothing
    """,
    "webhooks": """
        webhooks list
        webhooks list --json
        webhooks add https://alerts.example/gateway
        webhooks add https://alerts.example/gateway
        webhooks add https://alerts.example/two --event agent.revoked --secret-file ../secret.txt --json
        webhooks add https://alerts.example/three --json
        webhooks add https://alerts.example/four --event agent.revokd
        webhooks add https://alerts.example/four --secret-file ../key.txt
        webhooks add https://alerts.example/four --secret-file ../none.txt
        webhooks add http://alerts.example/four
        webhooks add https://10.0.0.1/four
        webhooks add https://10.0.0.1/four --allow-private
        webhooks add https://127.0.0.1:9/five --insecure
        webhooks list
        webhooks list --json
        webhooks test https://127.0.0.1:9/five
        webhooks test whk_nothing
        webhooks remove https://alerts.example/two
        webhooks remove https://alerts.example/three --json
        webhooks remove https://alerts.example/three
        webhooks remove whk_
        """,
}

FILES: Final = {
    "call.json": '{"action": "chat.completions", "resource": {"model": "gpt-4o"}}',
    "body.json": '{"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}',
    "key.txt": "sk-of-the-provider\n",
    "starter/data.json": '{"starter": {"most": {"tokens": 1000}}}\n',
    "secret.txt": "whsec_c2VjcmV0LW9mLWEtd2ViaG9vay10aGF0LXNpZ25z\n",
    "keys.json": '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", '
    '"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
    "fleet.yaml": """\
v: 1
organization: default
settings: {zone: Europe/Zurich, review_days: 90}
teams:
- {name: support, owner: dana, description: who answers}
upstreams:
- {name: openai, default: true, key: {env: PROVIDERS_KEY}}
- {name: local, provider: vllm, base_url: "http://127.0.0.1:8000/v1", key: {none: true}}
- {name: crm, base_url: "https://crm.example/v1", openapi: crm.yaml, key: {file: key.txt}}
routes:
- {name: any, members: [{upstream: openai}, {upstream: local, tier: 1, models: {gpt-4o: llama}}]}
agents:
- {name: lead, team: support, owner: dana, capabilities: [tools, chat], labels: {tier: "1"}, purpose: answers}
- {name: helper, parent: lead, status: suspended, team: sales}
- {name: third}
spiffe_ids:
- {agent: lead, spiffe_id: "spiffe://acme.example/lead", actions: [crm.getCustomer, chat.*]}
bindings:
- {team: support, bundle: crm}
- {organization: true, bundle: crm, effect: guard, shadow: true}
limits:
- {team: support, limit: tokens_per_day, value: 5000, model: "gpt-4o*"}
- {organization: true, limit: concurrent_requests, value: 9}
""",
    "less.yaml": """\
v: 1
agents:
- {name: lead, owner: sam, capabilities: [chat]}
- {name: helper, status: active}
upstreams:
- {name: openai, key: {file: key.txt}}
- {name: crm, headers: {x-team: red}}
routes: []
spiffe_ids: []
limits:
- {team: support, limit: tokens_per_day, value: 6000, model: "gpt-4o*"}
""",
    "other.pub": "test+34552f9c+AUfJMgWXLI2SJjPV7Gs9dM6jc18Vov5ISs5i57SO+3dF\n",
    "invoice.csv": "model,requests,input_tokens,output_tokens,cost\ngpt-4o-2024-08-06,2,24,68,0.00001\n",
    "dear.csv": "model,requests,input_tokens,cost\ngpt-4o,2,25,0.5\n",
    "agents.csv": "name,owner,team,labels\na,dana,red,tier=1;cost=c7\nb,,,\n",
    "more.csv": "name,owner\na,sam\nthird,\n",
    "unknown.yaml": "v: 1\nagents:\n- name: bot\n  onwer: dana\n- name: 4711\n",
    "unread.yaml": """\
v: 1
upstreams:
- {name: openai, key: {env: NO_SUCH_KEY}}
- {name: other, base_url: "https://other.example/v1", key: {file: none.txt}}
- {name: erp, base_url: "https://erp.example", openapi: bad.yaml, key: {none: true}}
""",
    "wrong.yaml": """\
v: 1
agents:
- {name: help er}
- {name: lead, parent: laed}
- {name: lead}
upstreams:
- {name: new, provider: opnai, base_url: "https://new.example/v1", key: {none: true}}
settings: {zone: Europe/Zurch}
""",
    "late.yaml": "v: 1\nagents:\n- {name: fourth}\nbindings:\n- agent: fourth\n  bundle: cmr\n",
    "twice.yaml": "v: 1\nlimits:\n- {agent: lead, limit: cost, value: 1}\n- {agent: lead, limit: cost, value: 2}\n",
    "moved.yaml": "v: 1\nupstreams:\n- {name: openai, base_url: 'https://moved.example/v1'}\n",
    "plain.yaml": "v: 1\nupstreams:\n- {name: near, base_url: 'http://10.0.0.1/v1', key: {none: true}}\n",
    "overdue.yaml": "v: 1\nsettings: {suspend_after_days: 500}\n",
    "bad.yaml": "openapi: 3.1.0\npaths: {/x: {get: {}}}\n",
    "crm.yaml": """\
openapi: 3.0.3
info: {title: crm, version: 1.0.0}
paths:
  /customers/{id}:
    get:
      operationId: getCustomer
      responses: {200: {description: A customer., content: {application/json: {schema: {type: object}}}}}
    patch:
      operationId: updateCustomer
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Customer"}}}}
components:
  schemas: {Customer: {properties: {discount: {type: number}, address: {properties: {city: {type: string}}}}}}
  responses: {Nothing: {description: There is none.}}
""",
}


def lay_out(place: Path) -> None:
    """The files that the scripts name."""
    for name, text in FILES.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)


def meet(home: Home) -> None:
    """Two programs that were seen with an old key, of which one has moved."""
    row = CredentialRow(
        "lgk_1", b"", 1, None, None, "agt_1", ORG, "legacy", 1, "", "", "", "active", "[]", "{}", "[]",
        adopting=True, upstream="openai",
    )  # fmt: skip
    clients = LegacyClients(RuntimeStore(home.data.runtime_db), home.peppers)
    for program, address in (("OpenAI/Python 2.8.0", "10.1.2.3"), ("curl/8.5.0", "10.1.2.4")):
        clients.note(principal_of(row, "", 0, "legacy"), program, address, "gpt-4o")
        time.sleep(0.002)  # lists have the newest first, by the millisecond: on each gateway these are two
    moved = row._replace(name="bot", upstream=None)
    clients.note(principal_of(moved, "", 0, "api_key"), "curl/8.5.0", "10.1.2.4", "gpt-4o")
    clients.close()


def look_at_commits(home: Home) -> None:
    """One was in force and is again, another between, one was refused."""
    activations.refuse_activation(
        home.registry,
        actor="gateway",
        commit="e" * 40,
        author="sam",
        outcome="tests_failed",
        detail="crm/authz_test.rego:3: a test failed\nand another one",
    )
    for commit in ("d" * 40, "c" * 40):
        home.activate("crm", "support", commit=commit)
    publish(home.registry, home.data)


def fill(data: DataDirectory) -> None:
    """The same calls in the log of each gateway, and nothing that is signed but the log `default`."""
    signer.create_key(data, "test")
    writer = AuditWriter(data, boot=new_id("boot"), deployment="test")
    who = {"agent": "agt_one", "key": "key_one", "private": b'{"agent":{"id":"agt_one"}}'}
    for number, organization, allow, agent in (
        (1, "default", True, "bob"),
        (2, "acme", True, "eve"),
        (3, "default", False, "bob"),
    ):
        fields = {"model": "gpt-4o", "agent_name": agent, "team": "sales", "upstream": "openai", "provider": "openai"}
        decided = Decided(
            organization=organization,
            event_id=f"dec_00000000-0000-7000-8000-{number:012}",
            allow=allow,
            reason="allowed" if allow else "policy_denied",
            open=allow,
            fields=fields,
            **(who | ({"agent": "agt_two"} if agent == "eve" else {})),
        )
        writer.write_sync(decided)
        if allow:
            closing = Completed(
                organization=organization,
                decision_id=decided.event_id,
                agent=decided.agent,
                outcome="ok",
                status=200,
                input_tokens=12,
                output_tokens=34,
                fields={"cost_nanousd": 5_000},
            )
            writer.write_sync(closing)
    writer.close()


def of_a_gateway(command: Any = None, words: Sequence[str] = ()) -> Iterator[str]:
    """The commands that have --data, but for those that stay on the gateway's machine."""
    command = get_command(build()) if command is None else command
    for name, each in getattr(command, "commands", {}).items():
        yield from of_a_gateway(each, [*words, name])
    whole = " ".join(words)
    if any(each.name == "data" for each in command.params) and whole not in remote.ONLY_HERE:
        yield whole
