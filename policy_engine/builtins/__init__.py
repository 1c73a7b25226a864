"""The builtins, a file or a folder for each family. A family's tuple `BUILTINS` declares them; `TABLE` is all by name.

Every command line and worker imports the table, so importing it must stay cheap: a family imports what is heavy
(regexes, cryptography, YAML, time zones) inside the functions that need it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from policy_engine.builtins import (
    aggregates,
    arrays,
    bits,
    conversion,
    crypto_hashes,
    deprecated,
    encoding_base64,
    encoding_json,
    formatting,
    glob,
    glob_intersection,
    graph,
    graphql,
    http,
    json_patch,
    json_paths,
    json_schema,
    jwt,
    net,
    network,
    numbers,
    objects,
    operators,
    providers_aws,
    reflection,
    regex,
    semver,
    sets,
    strings,
    templates,
    times,
    tracing,
    units,
    uri,
    urlquery,
    uuid,
    x509,
    yaml,
)
from policy_engine.builtins.table import Builtin

FAMILIES: Final[tuple[ModuleType, ...]] = (
    aggregates, arrays, bits, conversion, crypto_hashes, deprecated, encoding_base64, encoding_json,
    formatting, glob, glob_intersection, graph, graphql, http, json_patch, json_paths, json_schema, jwt, net,
    network, numbers, objects, operators, providers_aws, reflection, regex, semver, sets, strings, templates,
    times, tracing, units, uri, urlquery, uuid, x509, yaml,
)  # fmt: skip

TABLE: Final[dict[str, Builtin]] = {builtin.name: builtin for family in FAMILIES for builtin in family.BUILTINS}
"""Every builtin this engine has. A name that is not here is an error when a policy is loaded."""

reflection.BUILTIN_NAMES.update(TABLE)
