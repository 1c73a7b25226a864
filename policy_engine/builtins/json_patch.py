"""json.patch: RFC 6902 operations on any document, with Rego's sets and non-string keys besides.

The document is never changed: what an operation touches is copied once and then owned by the patch in progress, so a
patch of n operations on one array does not copy it n times.

One difference is meant: once an array has lost or gained an element, OPA 1.20 reads and changes the elements behind it
by the places they had before. Here, as RFC 6902 section 3 has it, every operation sees the result of the one before.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from policy_engine.builtins.json_paths import segments
from policy_engine.builtins.operands import INT64_MAX, INT64_MIN, NUMBERS, array, frozen, int64, shown
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, STRING, FunctionType, ObjectType
from policy_engine.types import array as array_of
from policy_engine.values import UNDEFINED, Charge, Set, Value, equal, freeze, thaw, type_name

_NAME: Final = "json.patch"


def patch(ctx: Context, document: Value, operations: Value) -> Value:
    edit = _Edit(ctx, document)
    for operation in array(operations, _NAME, 2):
        _apply(edit, operation)
    if edit.root is UNDEFINED:
        _fail("the whole document is removed and nothing put in its place")
    return edit.root


def _apply(edit: _Edit, operation: Value) -> None:
    if operation.__class__ is not dict:
        type_name(operation)
        _fail(f"an operation must be an object, but one is {shown(operation)}")
    target = _attribute(operation, "path")
    op = _attribute(operation, "op")
    if op.__class__ is not str:
        _fail(f"the member `op` of an operation must be a string, but one is {shown(op)}")
    path = _path(edit.ctx, target)
    match op:
        case "add":
            edit.insert(path, _attribute(operation, "value"))
        case "remove":
            edit.remove(path)
        case "replace":
            edit.remove(path)
            edit.insert(path, _attribute(operation, "value"))
        case "move":
            source = _path(edit.ctx, _attribute(operation, "from"))
            moved = edit.share(source)
            edit.remove(source)
            edit.insert(path, moved)
        case "copy":
            edit.insert(path, edit.share(_path(edit.ctx, _attribute(operation, "from"))))
        case "test":
            _test(edit.find(path), _attribute(operation, "value"), edit.ctx)
        case _:
            _fail(f"the operation {shown(op)} is unknown; use add, remove, replace, move, copy or test")


def _path(ctx: Context, given: Value) -> list[Value]:
    """The keys of a path, paid for: they will be looked up, and hashed for that."""
    if given.__class__ is str:
        ctx.charge(len(given))
        return segments(given, _NAME)
    keys = segments(given, _NAME)
    for _ in frozen(ctx, keys):
        pass
    return keys


def _test(found: Value, expected: Value, ctx: Context) -> None:
    if found is UNDEFINED or not equal(found, expected, ctx.charge):
        here = "nothing is there" if found is UNDEFINED else f"found {shown(found)}"
        _fail(f"a test failed: expected {shown(expected)}, {here}")


def _attribute(operation: dict[Any, Value], key: str) -> Value:
    if key not in operation:
        _fail(f"an operation lacks its member `{key}`")
    return operation[key]


def _fail(message: str) -> NoReturn:
    raise BuiltinError(f"{_NAME}: {message}")


class _Edit:
    """A document in the middle of a patch. `root` is `UNDEFINED` while it is removed.

    INVARIANT: `_owned` holds, by id, the arrays and objects that only this edit refers to; only these are changed in
    place. Nothing at or below a set is ever owned, as a set cannot see its members change.
    """

    def __init__(self, ctx: Context, root: Value) -> None:
        self.ctx = ctx
        self.root = root
        self._owned: dict[int, Value] = {}

    def find(self, path: list[Value]) -> Value:
        node = self.root
        for key in path:
            node = _child(node, key)
        return node

    def share(self, path: list[Value]) -> Value:
        """The value at a path, to stand at a second place too: from here on nothing is owned any more.

        Its size is charged, as copies of copies double the document with every operation.
        """
        value = self.find(path)
        self._owned.clear()
        pending = [value]
        while pending:
            self.ctx.charge(len(pending))
            composites = [item for item in pending if item.__class__ in _COMPOSITES]
            pending = [inner for item in composites for inner in _contents(item)]
        return value

    def insert(self, path: list[Value], value: Value) -> None:
        if value is UNDEFINED:
            _fail(_REMOVED)
        if path:
            self._change(path, value)
        else:
            self.root = value

    def remove(self, path: list[Value]) -> None:
        if path:
            self._change(path, UNDEFINED)
        elif self.root is UNDEFINED:
            _fail(_REMOVED)
        else:
            self.root = UNDEFINED

    def _change(self, path: list[Value], value: Value) -> None:
        """Put a value at the end of a path, or remove it (UNDEFINED). Containers that are not owned are copied."""
        nodes = [self.root]
        for key in path[:-1]:
            nodes.append(_child(nodes[-1], key))
        sets = [depth for depth, node in enumerate(nodes) if node.__class__ is Set]
        free = sets[0] if sets else len(nodes)
        changed = self._copy(nodes[-1], len(nodes) <= free)
        if changed.__class__ in _COMPOSITES:
            # An array moves the elements behind the place; a set is rebuilt.
            self.ctx.charge(len(changed) // (16 if changed.__class__ is Set else 256))
        changed = _delete(changed, path[-1]) if value is UNDEFINED else _insert(changed, path[-1], value)
        for depth in range(len(nodes) - 2, -1, -1):
            parent = self._copy(nodes[depth], depth < free)
            if parent.__class__ is Set:
                self.ctx.charge(len(parent) // 16)
            changed = _replace(parent, path[depth], changed, self.ctx.charge)
        self.root = changed

    def _copy(self, node: Value, may_own: bool) -> Value:
        """A container that may be changed in place. Sets are left alone: `_insert` and its like make new ones."""
        cls = node.__class__
        if (cls is not dict and cls is not list) or id(node) in self._owned:
            return node
        self.ctx.charge(len(node) // 16 + 1)
        copy = cls(node)
        if may_own:
            self._owned[id(copy)] = copy
        return copy


_COMPOSITES: Final[frozenset[type[Any]]] = frozenset((dict, list, Set))


def _contents(composite: Value) -> list[Value]:
    """The members of a composite value; of an object, its values without its keys."""
    if composite.__class__ is dict:
        return list(composite.values())
    return list(map(thaw, composite.members)) if composite.__class__ is Set else composite


def _child(node: Value, key: Value) -> Value:
    cls = node.__class__
    if cls is dict:
        found = node.get(freeze(key), UNDEFINED)
        if found is UNDEFINED:
            _fail(f"an object on the path has no key {shown(key)}")
        return found
    if cls is list:
        index = _index(node, key)
        if not 0 <= index < len(node):
            _fail(f"an array on the path has no element {index}, as its length is {len(node)}")
        return node[index]
    if cls is Set:
        if freeze(key) not in node.members:
            _fail(f"a set on the path has no member {shown(key)}")
        return key
    if node is UNDEFINED:
        _fail(_REMOVED)
    _no_collection(node)


def _insert(node: Value, key: Value, value: Value) -> Value:
    cls = node.__class__
    if cls is dict:
        # Without this an equal key's old text (`1` for `1.0`) would stay.
        node.pop(freeze(key), None)
        node[freeze(key)] = value
    elif cls is list:
        index = _index(node, key)
        if not 0 <= index <= len(node):
            _fail(f"an array of length {len(node)} has no place {index} to insert at")
        node.insert(index, value)
    elif cls is Set:
        if not equal(key, value):
            _fail(f"the path to a member of a set must end in the member: it ends in {shown(key)}, not {shown(value)}")
        members = dict(node.members)
        members.pop(freeze(value), None)  # as above
        return Set.of({**members, freeze(value): None})
    elif node is UNDEFINED:
        _fail(_REMOVED)
    else:
        _no_collection(node)
    return node


def _delete(node: Value, key: Value) -> Value:
    cls = node.__class__
    if cls is dict:
        if node.pop(freeze(key), UNDEFINED) is UNDEFINED:
            _fail(f"there is no {shown(key)} to remove")
    elif cls is list:
        index = _index(node, key)
        if not 0 <= index < len(node):
            _fail(f"an array of length {len(node)} has no element {index} to remove")
        del node[index]
    elif cls is Set:
        members = dict(node.members)
        if members.pop(freeze(key), UNDEFINED) is UNDEFINED:
            _fail(f"there is no {shown(key)} to remove")
        return Set.of(members)
    elif node is UNDEFINED:
        _fail(_REMOVED)
    else:
        _no_collection(node)
    return node


def _no_collection(node: Value) -> NoReturn:
    _fail(f"the path leads through {shown(node)}, which is neither array, object nor set")


_REMOVED: Final = "the whole document has been removed by an operation before"


def _replace(node: Value, key: Value, value: Value, charge: Charge) -> Value:
    """Put a changed child back to where `_child` found it."""
    if node.__class__ is dict:
        node[freeze(key)] = value
    elif node.__class__ is list:
        node[_index(node, key)] = value
    else:
        members = dict(node.members)
        del members[freeze(key)]
        members[freeze(value, charge)] = None
        return Set.of(members)
    return node


def _index(node: list[Value], key: Value) -> int:
    """The place a key names in an array; `-` is the one behind the last."""
    if key.__class__ in NUMBERS:
        index = int64(key)
        if index is None:
            _fail(_NO_INDEX)
        return index
    if key.__class__ is not str:
        type_name(key)
        _fail(_NO_INDEX)
    if key == "-":
        return len(node)
    digits = key[1:] if key[:1] in ("+", "-") else key
    whole, _, fraction = digits.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) < 20) or fraction.strip("0"):
        _fail(_NO_INDEX)
    if fraction and len(whole) + len(fraction) > 18:  # as in `int64`
        _fail(_NO_INDEX)
    index = -int(whole) if key[0] == "-" else int(whole)
    if not INT64_MIN <= index <= INT64_MAX:
        _fail(_NO_INDEX)
    if key != "0" and key[0] == "0":
        _fail(_NO_INDEX)
    return index


_NO_INDEX: Final = "the path names an element of an array by something else than an integer without leading zeros"


_OPERATION: Final = ObjectType((("op", STRING), ("path", ANY)), (ANY, ANY))

BUILTINS: Final = (Builtin(_NAME, FunctionType((ANY, array_of(_OPERATION)), ANY), patch, context=True),)
