"""A JSON API from an OpenAPI document: styles of its parameters, what is not declared, and one name in two places."""

from __future__ import annotations

from collections.abc import Iterator

from . import routes
from .case import LATER, MARK, PROMPT, Case
from .members import LOOKS
from .routes import Way

_MOVE = Way(b"POST", b"/crm/v1/customers/c-1/move?to=t-1", f'{{"note":"{PROMPT}","to":"t-1"}}', (b"reason", b"tags"))
_SEARCH = b"/crm/v1/customers?q=" + MARK

# Styles in which OpenAPI lets several values stand in one path, query or header.
_SEGMENTS = (
    b"c-1", b"c-1,c-2", b";customer_id=c-1", b".c-1", b".c-1.c-2", b";customer_id=c-1,c-2", b"customer_id=c-1",
    b"c-1%2Cc-2",
    b"c-1%2Fmove", b"c-1%2f..%2fc-2", b"c-1/..", b"%63-1", b"c%2D1", b"c-1%3Bx", b"c-1;v=2", b"c-1%20", b"c-1|c-2",
    b"c-1%7Cc-2",
    b"c-1@2", b"c-1$", b"c-1!", b"c-1'", b"(c-1)", b"c-1*", b"{customer_id}", b"%7Bcustomer_id%7D", b"c-1%00",
    b"c-1%0d%0aX:y",
    b"c-1\\", b"\xc3\xa9", b"%C3%A9", b"c-1%E2%80%8B", b"..", b".", b"...", b"%2e", b"%2e%2e", b"%252e%252e", b"-1",
    b"0", b"1e3",
    b"true", b"null", b"", b"a" * 128, b"a" * 129, b"c-1:x", b"c_1", b"c.1", b"c-1~", b"c-1+",
)  # fmt: skip
_TAGS = (
    b"tags=a", b"tags=a,b", b"tags=a&tags=b", b"tags[]=a&tags[]=b", b"tags[0]=a", b"tags=a%2Cb", b"tags=a%20b",
    b"tags=a|b", b"tags=a%7Cb",
    b"tags=a;b", b"tags=[%22a%22]", b"tags=%5B%22a%22%5D", b"tags[x]=a", b"tags.x=a", b"tags=x,1,y,2", b"tags=",
    b"tags", b"Tags=a",
    b"tag%73=a", b"tags%5B%5D=a", b"tags=a&Tags=b", b"tags=a&tags", b"tags=a&tag%73=b", b"tags=a&TAGS=b", b"+tags=a",
    b"tags+=a",
    b"to=t-2", b"to=t-1&to=t-1", b"To=t-2", b"t%6f=t-2", b"to[]=t-2", b"reason=a&reason=b", b"customer_id=c-2",
    b"note=x", b"_method=DELETE",
    b"filter[owner_id]=you", b"amount=1", b"reason=a%26to=t-2", b"reason=a%23", b"reason=%00", b"reason=a%0ab",
    b"reason=a+b", b"reason=%ff",
    b"reason=%u0061", b"reason=a=b", b"reason=a?b", b"reason=" + b"a" * 1024, b"reason=" + b"a" * 1025,
    b"reason=a%C2%A0", b"reason=%E2%80%AE",
)  # fmt: skip
_BODIES = (
    '"to":"t-2"', '"to":"T-1"', '"to":"t-1 "', '"to":["t-1"]', '"to":null', '"to":1', '"To":"t-2"',
    '"customer_id":"c-2"', '"id":"c-2"',
    '"to":"t-1","customer_id":"c-1"', '"to":"t-1","customerId":"c-2"', '"to":"t-1","owner":{"id":"me"}',
    '"to":"t-1","owner":{"id":"me","ID":"you"}',
    '"to":"t-1","owner":{"id":"me","i\\u0064":"you"}', '"to":"t-1","owner":{"id ":"you"}',
    '"to":"t-1","owner":{"tags":[{"id":"a","Id":"b"}]}',
    '"to":"t-1","owner":[{"id":"me"}]', '"to":"t-1","owner":"me"', '"to":"t-1","amount":1.0',
    '"to":"t-1","amount":1e2', '"to":"t-1","amount":-0',
    '"to":"t-1","amount":9007199254740993', '"to":"t-1","amount":"9"', '"to":"t-1","amount":1e400',
    '"to":"t-1","amount":0.1', '"to":"t-1","amount":NaN',
    '"to":"t-1","amount":[1,2]', '"to":"t-1","amount":18446744073709551616', '"to":"t-1","extra":1',
    '"to":"t-1","$ref":"#/x"', '"to":"t-1","":1',
    '"to":"t-1","__proto__":{"to":"t-2"}', '"to":"t-1","to":"t-2"', '"t\\u006f":"t-2","to":"t-1"',
    '"to":"t-1","note[]":"x"', '"to":"t-1","owner.id":"you"',
    '"to":"t-1","owner[id]":"you"', '"to":"t-1","@type":"x"', '"to":"t-1","owner":{"__proto__":{"id":"you"}}',
    '"to":"t\\u002d1"', '"to":"t-1\\u0000"',
)  # fmt: skip


def cases() -> Iterator[Case]:
    yield from routes.cases_of(_MOVE)
    for segment in _SEGMENTS:
        for method, after in ((b"GET", b"/orders/" + MARK), (b"POST", b"/move?to=t-1")):
            way = Way(method, b"/crm/v1/customers/" + segment + after, _MOVE.body if after.startswith(b"/move") else "")
            yield Case(
                f"crm: {method.decode()} {segment[:40]!r} of {len(segment)} before {after!r}", way.sent(), cut=LATER
            )
    for query in _TAGS:
        yield Case(
            f"crm: move with {query[:60]!r} of {len(query)}", _MOVE.sent(target=_MOVE.target + b"&" + query), cut=LATER
        )
        way = Way(b"GET", _SEARCH + b"&" + query)
        yield Case(f"crm: search with {query[:60]!r} of {len(query)}", way.sent(), cut=LATER)
    for more in _BODIES:
        yield Case(f"crm: a body with {more}", _MOVE.sent(body=f'{{"note":"{PROMPT}",{more}}}'))
        create = Way(b"POST", b"/crm/v1/customers", f'{{"note":"{PROMPT}","filter":{{{more}}}}}')
        yield Case(f"crm: a filter with {more}", create.sent())
    for look, change in LOOKS.items():
        for name in ("owner", "to", "amount", "customer_id"):
            if (other := change(name)) != name:
                yield Case(f"crm: {look}: `{name}`", _MOVE.sent(body=f'{_MOVE.body[:-1]},"{other}":"t-2"}}'))
    for value in (b"t-1", b"t-1,t-2", b"", b" t-1", b"t-1\t", b"t-1;x", b'"t-1"', b"t-1\x00", b"\xc3\xa9", b"t" * 3000):
        yield Case(f"crm: tenant {value[:20]!r}", Way(b"GET", _SEARCH).sent(b"X-Tenant: " + value), cut=LATER)
        for again in (b"x-tenant: t-2", b"X_Tenant: t-2", b"X-TENANT:", b"X-Tenant : t-2"):
            sent = Way(b"GET", _SEARCH).sent(b"X-Tenant: " + value, again)
            yield Case(f"crm: tenant {value[:20]!r} and {again!r}", sent, cut=LATER)
