"""net.cidr_*: address ranges of IPv4 and IPv6. Nothing here touches a network; `net.lookup_ip_addr` is in `network`.

A range is taken as Go's `net` package takes it. Above all, an IPv4 address inside IPv6 (`::ffff:10.0.0.1`) *is* that
IPv4 address, and no IPv6 range holds an IPv4 address: a policy that admits `::/0` has not admitted `10.0.0.1`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from policy_engine.builtins.operands import charged, frozen, shown, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, BOOLEAN, STRING, ArrayType, FunctionType, object_, set_, union
from policy_engine.types import array as array_of
from policy_engine.values import Set, Value, sorted_items, type_name


class Network(NamedTuple):
    """Addresses of one version from `first` to `last`, as numbers; `prefix` counts the bits they share."""

    version: int
    first: int
    last: int
    prefix: int


_BITS: Final = {4: 32, 6: 128}
_MAPPED: Final = 0xFFFF
"""The bits above the 32 of an IPv4 address that is mapped into IPv6."""


def _address(text: str) -> tuple[int, int] | None:
    """Version and number of an address as it is written, None if it is none (a zone, `%eth0`, makes it none)."""
    from ipaddress import AddressValueError, IPv4Address, IPv6Address

    try:
        if ":" not in text:
            return 4, int(IPv4Address(text))
        return None if "%" in text else (6, int(IPv6Address(text)))
    except AddressValueError:
        return None


def is_address(text: str) -> bool:
    return _address(text) is not None


_LONGEST: Final = 64
"""No address with a prefix is longer. The limit also keeps the entries of the caches small."""


@functools.lru_cache(maxsize=4096)
def _network(text: str) -> Network | None:
    """The range that `address/prefix` stands for; bits of the address behind the prefix do not matter."""
    written, _, digits = text.partition("/")
    address = _address(written)
    if address is None or not (digits.isascii() and digits.isdigit()):
        return None
    version, number = address
    size = _BITS[version] - int(digits)
    if size < 0:
        return None
    first = number >> size << size
    last = first | (1 << size) - 1
    if version == 6 and first >> 32 == _MAPPED == last >> 32:
        return Network(4, first & 0xFFFFFFFF, last & 0xFFFFFFFF, int(digits) - 96)
    return Network(version, first, last, int(digits))


@functools.lru_cache(maxsize=4096)
def _single(text: str) -> Network | None:
    """An address as a range of one."""
    address = _address(text)
    if address is None:
        return None
    version, number = address
    if version == 6 and number >> 32 == _MAPPED:
        version, number = 4, number & 0xFFFFFFFF
    return Network(version, number, number, _BITS[version])


def _operand(operand: Value, name: str) -> Network:
    # OPA calls every operand of these functions the first.
    text = string(operand, name, 1)
    network = _network(text) if len(text) <= _LONGEST else None
    if network is None:
        raise BuiltinError(f"{name}: invalid CIDR address: {shown(text)}")
    return network


def _holds(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and outer.first <= inner.first and inner.last <= outer.last


def cidr_contains(cidr: Value, operand: Value) -> Value:
    return _contains(cidr, operand, "net.cidr_contains")


def _contains(cidr: Value, operand: Value, name: str) -> bool:
    """True if an address, or the whole of another range, is in a range."""
    if cidr.__class__ is operand.__class__ is str and len(cidr) + len(operand) <= _LONGEST:
        known = _verdict(cidr, operand)
        if known is not None:
            return known
    return _holds(_operand(cidr, name), _address_or_network(operand, name))


def _address_or_network(operand: Value, name: str) -> Network:
    text = string(operand, name, 1)
    found = (_single(text) or _network(text)) if len(text) <= _LONGEST else None
    if found is None:
        raise BuiltinError(f"{name}: neither an IP address nor a CIDR: {shown(text)}")
    return found


@functools.lru_cache(maxsize=4096)
def _verdict(cidr: str, operand: str) -> bool | None:
    """The answer for two short texts; None if one of them is no range or address."""
    outer, inner = _network(cidr), _single(operand) or _network(operand)
    return None if outer is None or inner is None else _holds(outer, inner)


def cidr_overlap(cidr: Value, operand: Value) -> Value:
    """The old name of `cidr_contains`."""
    return _contains(cidr, operand, "net.cidr_overlap")


def cidr_contains_matches(ctx: Context, cidrs: Value, operands: Value) -> Value:
    """Pairs of places, of a range in the first operand and of an address or range in the second that it contains.

    Each operand is a string (its own place) or a collection of strings, or of arrays that begin with one. The place is
    the index in an array, the key in an object, the member itself in a set.
    """
    name = "net.cidr_contains_matches"
    found: list[Value] = []
    inner: list[tuple[Network, Value]] | None = None
    for cidr, place in _places(ctx, cidrs, 1, name):
        if inner is None:
            inner = [(_address_or_network(text, name), other) for text, other in _places(ctx, operands, 2, name)]
        if inner:
            outer = _operand(cidr, name)
            found += [[place, other] for network, other in charged(ctx, inner) if _holds(outer, network)]
    return Set.of(dict.fromkeys(frozen(ctx, found)))


def _places(ctx: Context, operand: Value, position: int, name: str) -> Iterator[tuple[Value, Value]]:
    """(the value that should be a string, its place) for each element. An operand of another type has none."""
    return charged(ctx, _elements(ctx, operand, position, name), lambda _: _PARSING)


_PARSING: Final = 8
"""Steps for reading an address."""


def _elements(ctx: Context, operand: Value, position: int, name: str) -> Iterator[tuple[Value, Value]]:
    cls = operand.__class__
    if cls is str:
        yield operand, operand
        return
    places: Iterable[tuple[Value, Value]] = ()
    if cls is list:
        places = enumerate(operand)
    elif cls is Set:
        places = ((member, member) for member in operand.sorted(ctx.charge))
    elif cls is dict:
        places = sorted_items(operand, ctx.charge)
    else:
        type_name(operand)
    for place, element in places:
        if element.__class__ is str:
            yield element, place
        elif element.__class__ is list and element:
            yield element[0], place
        else:
            type_name(element)
            raise BuiltinError(f"{name}: operand {position}: element must be string or non-empty array")


def cidr_expand(ctx: Context, operand: Value) -> Value:
    """All addresses of a range."""
    network = _operand(operand, "net.cidr_expand")
    numbers = range(network.first, network.last + 1)
    # A budget that cannot suffice is detected at once, a deadline on the way.
    ctx.charge(_ADDRESS * (network.last - network.first + 1))
    return Set.of({_text(network.version, number): None for number in charged(ctx, numbers)})


_ADDRESS: Final = 4
"""Steps for an address in a set: it is kept."""


def cidr_intersects(first: Value, second: Value) -> Value:
    a = _operand(first, "net.cidr_intersects")
    b = _operand(second, "net.cidr_intersects")
    # Ranges of this kind overlap only if one holds the other.
    return _holds(a, b) or _holds(b, a)


def cidr_is_valid(operand: Value) -> Value:
    """True for a string with an address and a prefix length, false for every other value."""
    if operand.__class__ is not str:
        type_name(operand)
        return False
    return len(operand) <= _LONGEST and _network(operand) is not None


class _Range(NamedTuple):
    """Addresses on one line of 128-bit numbers, IPv4 among them at its place in IPv6; ordered by their ends."""

    last: int
    first: int
    shown: str | None
    """The text of the range as it was given; None if it is not one range that was given."""


def cidr_merge(ctx: Context, operand: Value) -> Value:
    """The fewest ranges with the same addresses (OPA 1.20 crashes on many of IPv6 that overlap).

    An IPv4 address without a prefix means the network of its old class, and if it stays alone it is written as given.
    """
    if operand.__class__ is list:
        elements = operand
    elif operand.__class__ is Set:
        elements = operand.sorted(ctx.charge)
    else:
        raise BuiltinError(f"net.cidr_merge: operand must be an array or set but is {shown(operand)}")
    ranges = sorted(_range(element) for element in charged(ctx, elements, lambda _: 8 * _PARSING))
    merged: list[_Range] = []
    for before in reversed(ranges):
        if merged:
            after = merged[-1]
            # Nothing comes before the first address of IPv4, nor is anything of IPv6 its neighbour.
            previous = after.first if after.first in (0, _MAPPED << 32) else after.first - 1
            if previous <= before.last:
                merged[-1] = _Range(after.last, min(before.first, after.first), None)
                continue
        merged.append(before)
    return Set(text for one in merged for text in ([one.shown] if one.shown else _blocks(one.first, one.last)))


def _range(element: Value) -> _Range:
    if element.__class__ is not str:
        type_name(element)
        raise BuiltinError("net.cidr_merge: element must be string")
    single = _single(element) if len(element) <= _LONGEST else None
    if single is None:
        network = _operand(element, "net.cidr_merge")
        written = f"{_text(network.version, network.first)}/{network.prefix}"
    elif single.version == 6:
        raise BuiltinError("net.cidr_merge: IPv6 invalid: needs prefix length")
    else:
        top = single.first >> 30
        prefix = 8 if top < 2 else 16 if top == 2 else 24
        written = f"{_text(4, single.first)}/{prefix}"
        size = 32 - prefix
        first = single.first >> size << size
        network = Network(4, first, first | (1 << size) - 1, prefix)
    offset = _MAPPED << 32 if network.version == 4 else 0
    return _Range(network.last + offset, network.first + offset, written)


def _blocks(first: int, last: int) -> Iterator[str]:
    """A range as ranges with prefixes, the largest that fit."""
    while first <= last:
        size = (last - first + 1).bit_length() - 1
        if first:
            size = min(size, (first & -first).bit_length() - 1)
        is_v4 = first >> 32 == _MAPPED and size <= 32
        yield f"{_text(6, first)}/{(32 if is_v4 else 128) - size}"
        first += 1 << size


def _text(version: int, number: int) -> str:
    if version == 6 and number >> 32 == _MAPPED:
        version, number = 4, number & 0xFFFFFFFF
    if version == 4:
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    from ipaddress import IPv6Address

    return str(IPv6Address(number))


_TEXT_OR_MANY: Final = union(STRING, array_of(ANY))
_PLACES: Final = union(
    STRING,
    array_of(_TEXT_OR_MANY),
    object_(STRING, _TEXT_OR_MANY),
    set_(_TEXT_OR_MANY),
)
_TWO_TEXTS: Final = FunctionType((STRING, STRING), BOOLEAN)

BUILTINS: Final = (
    Builtin("net.cidr_contains", _TWO_TEXTS, cidr_contains),
    Builtin(
        "net.cidr_contains_matches",
        FunctionType((_PLACES, _PLACES), set_(ArrayType((ANY, ANY)))),
        cidr_contains_matches,
        context=True,
    ),
    Builtin("net.cidr_expand", FunctionType((STRING,), set_(STRING)), cidr_expand, context=True),
    Builtin("net.cidr_intersects", _TWO_TEXTS, cidr_intersects),
    Builtin("net.cidr_is_valid", FunctionType((STRING,), BOOLEAN), cidr_is_valid),
    Builtin(
        "net.cidr_merge",
        FunctionType((union(array_of(union(STRING)), set_(STRING)),), set_(STRING)),
        cidr_merge,
        context=True,
    ),
    Builtin("net.cidr_overlap", _TWO_TEXTS, cidr_overlap, deprecated=True),
)
