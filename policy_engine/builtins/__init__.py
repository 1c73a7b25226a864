"""The builtins, one file a family. Each family has a tuple `BUILTINS`; `TABLE` is all of them by name.

Importing the table must stay cheap, because every command line and worker does it: a family imports what is heavy
(regexes, cryptography, YAML, time zones) inside the functions that need it.
"""

from __future__ import annotations

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
    encoding_yaml,
    formatting,
    glob,
    glob_intersection,
    graph,
    graphql,
    http_send,
    json_patch,
    json_paths,
    json_schema,
    jwt,
    jwt_sign,
    net,
    network,
    numbers,
    objects,
    operators,
    providers_aws,
    reflection,
    regex,
    render_template,
    semver,
    sets,
    strings,
    times,
    tracing,
    units,
    uri,
    urlquery,
    uuid,
    x509,
)
from policy_engine.builtins.table import Builtin

FAMILIES: Final[tuple[tuple[Builtin, ...], ...]] = (
    aggregates.BUILTINS,
    arrays.BUILTINS,
    bits.BUILTINS,
    conversion.BUILTINS,
    crypto_hashes.BUILTINS,
    deprecated.BUILTINS,
    encoding_base64.BUILTINS,
    encoding_json.BUILTINS,
    encoding_yaml.BUILTINS,
    formatting.BUILTINS,
    glob.BUILTINS,
    glob_intersection.BUILTINS,
    graph.BUILTINS,
    graphql.BUILTINS,
    http_send.BUILTINS,
    json_patch.BUILTINS,
    json_paths.BUILTINS,
    json_schema.BUILTINS,
    jwt.BUILTINS,
    jwt_sign.BUILTINS,
    net.BUILTINS,
    network.BUILTINS,
    numbers.BUILTINS,
    objects.BUILTINS,
    operators.BUILTINS,
    providers_aws.BUILTINS,
    reflection.BUILTINS,
    regex.BUILTINS,
    render_template.BUILTINS,
    semver.BUILTINS,
    sets.BUILTINS,
    strings.BUILTINS,
    times.BUILTINS,
    tracing.BUILTINS,
    units.BUILTINS,
    uri.BUILTINS,
    urlquery.BUILTINS,
    uuid.BUILTINS,
    x509.BUILTINS,
)

TABLE: Final[dict[str, Builtin]] = {builtin.name: builtin for family in FAMILIES for builtin in family}
"""Every builtin this engine has. A name that is not here is an error when a policy is loaded."""

reflection.BUILTIN_NAMES.update(TABLE)
