"""Every name that generated code may use, beside its constants and its own functions."""

from __future__ import annotations

from typing import Any, Final

from policy_engine.builtins.graph import walk_values
from policy_engine.codegen import context, export, joins, kept, overlays, runtime
from policy_engine.errors import BuiltinError, PolicyError
from policy_engine.values import Set

_FUNCTIONS: Final = (
    BuiltinError, Exception, PolicyError, Set, dict, int, len, list, str, walk_values,
    context.charge, context.failed, context.marks, context.run_of, context.with_function,
    export.export, export.exported, export.failure, export.listing, export.shallow,
    joins.grouped, joins.joined, joins.joined_late, joins.listed, joins.listed_late, joins.tabled,
    joins.texts,
    kept.Kept, kept.aside, kept.found, kept.keep, kept.keep_part, kept.not_made, kept.parts,
    overlays.bad_path, overlays.base_at, overlays.copied, overlays.known, overlays.whole, overlays.with_data,
    overlays.with_input,
    runtime.Partial, runtime.agree, runtime.base_step, runtime.by_beginning, runtime.constant, runtime.cursor,
    runtime.cursor_items, runtime.cursor_step, runtime.differs, runtime.document, runtime.extent, runtime.falsy,
    runtime.finish, runtime.frozen, runtime.full, runtime.is_collection, runtime.items, runtime.member, runtime.members,
    runtime.new_set, runtime.order, runtime.put_member, runtime.put_pair, runtime.put_path, runtime.redirect,
    runtime.step,
)  # fmt: skip

NAMESPACE: Final[dict[str, Any]] = {
    "NC": context.NC,
    "U": context.U,
    **{item.__name__: item for item in _FUNCTIONS},
}
