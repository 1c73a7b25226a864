"""Operands for every builtin that programs may call, valid and not: the ones of `builtins/`, and those it has none for.

A builtin is named here or in `builtins/test_differential.py`; `DETERMINISTIC` is what the fuzzer must cover, and a test
compares the two. Left out: what depends on a clock, on chance or on the network (but see calls.py: as the targets of
`with` they are as good as any), what v1 refuses as deprecated, and what means something only where it stands
(`print`, `rego.metadata.*`: grammar.py).
"""

from __future__ import annotations

import random
from typing import Final

from policy_engine.builtins import TABLE
from policy_engine.values import Value
from tests.policy_engine.builtins import generate as g
from tests.policy_engine.builtins.generate import Operand
from tests.policy_engine.builtins.signatures import DIFFERENT_ON_PURPOSE, SIGNATURES

ELSEWHERE: Final = frozenset(("assign", "eq", "print", "rego.metadata.chain", "rego.metadata.rule"))
"""Grammar more than functions: `:=`, `=`, and what looks at the place of a call."""

DETERMINISTIC: Final = frozenset(
    name
    for name, builtin in TABLE.items()
    if not (builtin.nondeterministic or builtin.deprecated or name.startswith("internal.") or name in ELSEWHERE)
)

_array = g.array_of(g.any_value)
_object = g.object_of(g.text, g.any_value)
_key = g.one_of("a", "b", "c", 0, 1, True, None)
_nested = g.one_of(
    {"a": {"b": [1, {"c": 2}], "c": None}, "b": 1},
    {"a": [{"b": 1}, {"b": 2}], "d": "x"},
    {"a": {"b": {"c": {}}}, "": 0},
    {},
)
_paths = g.either(
    g.array_of(g.one_of("a", "a/b", "/a/b", "a/b/1", "a/b/1/c", "b", "a/0/b", "", "~0", ["a", "b"], ["a", "b", 1])),
    g.set_of(g.one_of("a/b", "b", "d", "a/0")),
)
_patch = g.object_of(
    g.one_of("op", "path", "value", "from"),
    g.one_of(
        "add", "remove", "replace", "move", "copy", "test", "a", "/a/b", "/a/b/0", "/a/b/-", "/b", "b", "", 1, None
    ),
    4,
)
_patches = g.either(
    g.array_of(_patch, 2),
    g.one_of(
        [{"op": "add", "path": "/a/b/-", "value": 7}],
        [{"op": "remove", "path": "a/b"}],
        [{"op": "replace", "path": "/b", "value": {"x": 1}}, {"op": "test", "path": "/b/x", "value": 1}],
        [{"op": "move", "from": "/a", "path": "/z"}],
        [{"op": "copy", "from": ["a", "b"], "path": ["q"]}],
    ),
)
_bytes = g.one_of("", "YQ==", "YQ", "aGVsbG8=", "aGVsbG8", "_-8=", "/+8=", "6f", "f", "zz", "6162", "=", "YQ==\n", "é")
_documents = g.one_of(
    "", "1", '"a"', "[1, 2.50]", '{"a": {"b": null}}', "{", "[1,]", "1e400", "01", "nul", '{"a":1,"a":2}', " true ",
    "\\u00e9",
    '"\\u00e9\\n"', "-0", "1.0", "12345678901234567890", "[] []", "NaN",
)  # fmt: skip
_yaml = g.one_of(
    "", "a: 1", "- 1\n- b\n", "a: {b: [yes, no, ~]}", "a: [", "2020-01-01", "1: a", "a: &x 1\nb: *x", "0o17", "1e3",
    "'a'",
    "a: |\n  x\n  y\n", "? [1]\n: 2", "---\na: 1\n---\nb: 2", "\ta: 1", "true: 1", "- - 1\n  - 2", "a: 1\na: 2",
    "!!str 1",
)  # fmt: skip
_schema = g.one_of(
    {"type": "object", "properties": {"a": {"type": "number", "minimum": 1}}, "required": ["a"]},
    {"type": "array", "items": {"type": "string", "pattern": "^a"}, "maxItems": 2},
    {"enum": [1, "a", None]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"type": "strange"},
    {"properties": 1},
    {},
    '{"type": "object", "maxProperties": 0}',  # of several errors of one kind OPA changes the order at random
    "{",
    True,
)
_instance = g.one_of({"a": 1}, {"a": 0}, {"b": 1}, {}, '{"a": 2}', "[]", '["a", "b", "a"]', '"a"', "x", {"a": "1"}, [1])
_cidr = g.one_of(
    "10.0.0.0/8", "10.1.2.3", "10.1.0.0/16", "192.168.1.0/30", "192.168.1.1/30", "::1", "fe80::/126",
    "2001:db8::/127", "10.0.0.0/33",
    "10.0.0", "", "x", "0.0.0.0/0", "::ffff:10.0.0.0/104", "10.0.0.1/32", "010.0.0.1",
)  # fmt: skip
_range = g.one_of(  # OPA merges no range that is written as a part of IPv6 with one that contains it
    "10.0.0.0/8", "10.1.2.3", "10.1.0.0/16", "192.168.1.0/30", "192.168.1.1/30", "::1", "fe80::/126", "10.0.0.0/33",
    "10.0.0", "", "x", "0.0.0.0/0", "10.0.0.1/32", "010.0.0.1", "10.1.2.3/8",
)  # fmt: skip
_expanded = g.one_of(
    "192.168.1.0/30", "10.0.0.1/32", "fe80::/126", "192.168.1.1/29", "x", "10.0.0.0/33", "10.0.0.1", ""
)
_cidrs = g.either(
    _cidr,
    g.array_of(_cidr),
    g.set_of(_cidr),
    g.object_of(g.text, _cidr),
    g.array_of(g.one_of(["10.0.0.0/8", 1], ["::/0", "a"], [], [1])),
)
_zone = g.one_of("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Local", "", "Nowhere/X", "Pacific/Apia")
_ns = g.one_of(
    0,
    1,
    -1,
    1700000000123456789,
    951782400000000000,
    -62135596800000000000,
    253402300799999999999,
    1.5,
    9223372036854775807,
)
_layout = g.one_of(
    "2006-01-02", "RFC3339", "RFC1123Z", "15:04:05.000", "Jan _2 06 3PM MST", "", "Kitchen", "ANSIC", "x", "002 2006"
)
_time = g.either(_ns, _ns, lambda rnd: [_ns(rnd), _zone(rnd)])
_formatted = g.either(
    _time, lambda rnd: [_ns(rnd), _zone(rnd), _layout(rnd)], lambda rnd: [_ns(rnd), _zone(rnd), _layout(rnd)]
)
_date = g.one_of(
    "2024-02-29", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20.5+01:00", "2024-02-30", "", "x", "15:04:05.000",
    "Tue, 14 Nov 2023 22:13:20 +0000",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2023-11-14t22:13:20z",
)  # fmt: skip
_duration = g.one_of(
    "1h", "1.5h", "-2m3s", "300ms", "1us", "1µs", "1d", "", "0", "+5s", "1h1", ".5s", "9999999h", "1 h"
)
_uri = g.one_of(
    "https://u:p@example.com:8080/a/b?x=1&y=2#f", "/a/b", "mailto:x@y.z", "http://[::1]:80/", "http://[::1", "%zz",
    "", "a b", "//h/p", "http://h:x/",
    "urn:a:b", "http://é/ü?q=ß", "?x", "#f", "1:2", "http://a/%2F/",
)  # fmt: skip
_encoded = g.one_of("a=1&b=2&a=3", "a", "a%20b+c", "%zz", "%", "", "a=%C3%A9", "&&", "=1", "a;b", "é=ü")
_pairs = g.object_of(
    g.one_of("a", "b c", "é", "&"), g.either(g.text, g.array_of(g.text), g.set_of(g.text), g.any_value)
)
_query = g.one_of(
    "{ a }",
    "query q($x: Int) { a(x: $x) }",
    "{ a { b } }",
    "{",
    "",
    "{ zz }",
    "mutation { a }",
    "{ a @skip(if: true) }",
)
_graphql = g.one_of(
    "type Query { a: Int }",
    "type Query { a(x: Int): B } type B { b: String! }",
    "type Query { a: Gone }",
    "type {",
    "",
    "scalar D",
    "enum E { A B }",
)
_token = g.one_of(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ"
    ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "eyJhbGciOiJub25lIn0.e30.",
    "a.b",
    "a.b.c",
    "",
    "e30.e30.e30",
)
_secret = g.one_of(
    "your-256-bit-secret", "", "s", "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----", '{"keys": []}', "{"
)
_pem = g.one_of(
    "",
    "x",
    "YQ==",
    "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
    "-----BEGIN RSA PRIVATE KEY-----\nAA==\n",
)
_module = g.one_of(
    "package a\np := 1",
    "package a",
    "package",
    "p := 1",
    "",
    "package a\np := ",
    "package a.b\nimport data.x\nq contains 1 if x",
)
_request = g.one_of(
    {"method": "get", "url": "https://example.com/a?b=c"},
    {"method": "post", "url": "http://x/", "body": {"a": 1}, "headers": {"x": "y"}},
    {},
    {"method": 1},
)
_aws = g.one_of(
    {"aws_access_key": "K", "aws_secret_access_key": "S", "aws_service": "s3", "aws_region": "us-east-1"},
    {
        "aws_access_key": "K",
        "aws_secret_access_key": "S",
        "aws_service": "execute-api",
        "aws_region": "eu",
        "aws_session_token": "T",
    },
    {"aws_access_key": "K"},
    {},
)

_PARSED: Final = ("certificates", "certificate_request", "rsa_private_key", "and_verify_certificates")

_LOOSE: Final[dict[str, tuple[Operand, ...]]] = {
    "array.concat": (_array, _array),
    **dict.fromkeys(("array.flatten", "array.reverse"), (_array,)),
    "array.slice": (_array, g.integer, g.integer),
    **dict.fromkeys(
        ("base64.decode", "base64.is_valid", "base64url.decode", "hex.decode"), (g.either(_bytes, g.text),)
    ),
    **dict.fromkeys(("base64.encode", "base64url.encode", "base64url.encode_no_pad", "hex.encode"), (g.text,)),
    **dict.fromkeys(("crypto.md5", "crypto.sha1", "crypto.sha256"), (g.text,)),
    **{f"crypto.hmac.{name}": (g.text, g.text) for name in ("md5", "sha1", "sha256", "sha512")},
    "crypto.hmac.equal": (g.short, g.short),
    "crypto.parse_private_keys": (_pem,),
    **{f"crypto.x509.parse_{name}": (_pem,) for name in _PARSED},
    "crypto.x509.parse_keypair": (_pem, _pem),
    "crypto.x509.parse_and_verify_certificates_with_options": (
        _pem,
        g.one_of({}, {"DNSName": "a"}, {"x": 1}, {"CurrentTime": 1}),
    ),
    **dict.fromkeys(("graphql.is_valid", "graphql.parse", "graphql.parse_and_verify"), (_query, _graphql)),
    "graphql.parse_query": (_query,),
    **dict.fromkeys(("graphql.parse_schema", "graphql.schema_is_valid"), (_graphql,)),
    "io.jwt.decode": (_token,),
    **{name: (_token, _secret) for name in sorted(DETERMINISTIC) if name.startswith("io.jwt.verify_")},
    **dict.fromkeys(("json.filter", "json.remove"), (_nested, _paths)),
    "json.patch": (_nested, _patches),
    **dict.fromkeys(("json.is_valid", "json.unmarshal"), (_documents,)),
    **dict.fromkeys(("json.marshal", "yaml.marshal"), (g.any_value,)),
    "json.marshal_with_options": (
        g.any_value,
        g.one_of({}, {"pretty": True}, {"pretty": True, "indent": "  "}, {"prefix": ">"}, {"pretty": 1}, {"x": 1}),
    ),
    "json.match_schema": (_instance, _schema),
    "json.verify_schema": (_schema,),
    **dict.fromkeys(("net.cidr_contains", "net.cidr_intersects"), (_cidr, _cidr)),
    "net.cidr_contains_matches": (_cidrs, _cidrs),
    "net.cidr_expand": (_expanded,),
    "net.cidr_is_valid": (_cidr,),
    "net.cidr_merge": (g.either(g.array_of(_range), g.set_of(_range)),),
    "object.get": (_nested, g.either(_key, g.array_of(_key)), g.any_value),
    "object.keys": (_object,),
    **dict.fromkeys(("object.filter", "object.remove"), (_nested, g.either(g.array_of(_key), g.set_of(_key), _nested))),
    "object.subset": (
        g.either(_nested, g.array_of(g.integer), g.set_of(g.integer)),
        g.either(_nested, g.array_of(g.integer), g.set_of(g.integer)),
    ),
    "object.union": (_nested, g.either(_nested, _object)),
    "object.union_n": (g.array_of(g.either(_nested, _object)),),
    "providers.aws.sign_req": (_request, _aws, g.one_of(1700000000000000000)),
    "regex.template_match": (
        # OPA remembers a template by its text alone, among its other patterns: with other delimiters it is the old one.
        g.one_of("urn:{.*}", "urn:a{[ab]+}c", "urn:<b>", "urn:{", "urn:"),
        g.either(g.subject, g.one_of("urn:x", "urn:aabc", "urn:")),
        g.one_of("{", "{", "{", "", "{{"),
        g.one_of("}", "}", "}", ""),
    ),
    "rego.parse_module": (g.one_of("a.rego", ""), _module),
    "time.add_date": (_ns, g.integer, g.integer, g.integer),
    **dict.fromkeys(("time.clock", "time.date", "time.weekday"), (_time,)),
    "time.diff": (_time, _time),
    "time.format": (_formatted,),
    "time.parse_duration_ns": (_duration,),
    "time.parse_ns": (_layout, _date),
    "time.parse_rfc3339_ns": (_date,),
    "trace": (g.text,),
    **dict.fromkeys(("uri.is_valid", "uri.parse"), (_uri,)),
    **dict.fromkeys(("urlquery.decode", "urlquery.decode_object"), (_encoded,)),
    "urlquery.encode": (g.text,),
    "urlquery.encode_object": (_pairs,),
    **dict.fromkeys(("yaml.is_valid", "yaml.unmarshal"), (_yaml,)),
}

OPERANDS: Final[dict[str, tuple[Operand, ...]]] = {
    **{name: operands for name, operands in SIGNATURES.items() if name in DETERMINISTIC},
    **_LOOSE,
}


def arguments(name: str, rng: random.Random) -> list[Value]:
    """Operands for a call, none of those of which the answer is meant to be another one than OPA's."""
    differs = DIFFERENT_ON_PURPOSE.get(name)
    while True:
        values = g.operands(rng, OPERANDS[name])
        if len(values) == len(OPERANDS[name]):
            try:
                if differs is None or not differs(values):
                    return values
            except (TypeError, IndexError):  # an operand of another type, which both refuse
                return values
