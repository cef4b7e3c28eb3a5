# SPDX-License-Identifier: MPL-2.0
"""Option 220, Subnet Allocation (RFC 6656 section 3): octets to values and back.

Receiving is as strict as the RFC where a mistake could hand out or take away the wrong addresses, and liberal where
the RFC asks for it: unknown suboptions are skipped, undefined flag bits ignored, statistics of any length read.
Sending is strict throughout: a value that the option can't carry raises ValueError.
"""

from __future__ import annotations

import enum
import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Final

from kea_subnet_deleg.wire.options import MAX_INSTANCE


class Suboption(enum.IntEnum):
    """The suboptions of option 220, by number (RFC 6656 sections 3.1 to 3.4)."""

    SUBNET_REQUEST = 1
    SUBNET_INFORMATION = 2
    SUBNET_NAME = 3
    SUGGESTED_LEASE_TIME = 4


_SUBNET_INFORMATION: Final = int(Suboption.SUBNET_INFORMATION)  # looking up a member of an enum is slow

# Mind that h is the first bit of a request's flags but the second of a block's.
REQUEST_HIERARCHICAL: Final = 0x01
REQUEST_INFORMATION: Final = 0x02
INFORMATION_SERVER: Final = 0x01
INFORMATION_CLIENT: Final = 0x02
BLOCK_DEPRECATE: Final = 0x01
BLOCK_HIERARCHICAL: Final = 0x02

LONGEST_PREFIX: Final = 30
"""Longest prefix length that can be asked for (RFC 6656 section 4.1) and so that can be delegated."""
_BLOCK: Final = struct.Struct("!IBBB")
# All of an option with one block: its flags, and a Subnet-Information without statistics.
_ONE_BLOCK: Final = struct.Struct("!BBBBIBBB")
BLOCK_HEADER: Final = _BLOCK.size
"""Octets of a block before its statistics: network, prefix, flags, statlen."""
NOT_REPORTED: Final = 0xFFFF
LARGEST_COUNT: Final = 0xFFFE
"""Largest number of addresses a statistics field can say; a /16 or larger may hold more."""


# The values below are not frozen, and their __init__ is written out: see Message.


class MalformedOption(ValueError):
    """Option 220 can't be read; the text says at which offset of its value, what, and the value found."""


@dataclass(init=False, slots=True, unsafe_hash=True)
class SubnetRequest:
    """Subnet-Request: a subnet is wanted, or a list of what the client holds (RFC 6656 section 3.1).

    `prefix_length` is 1 to 30, or 0 where the client suggests no size. With `information` (the `i` flag) set it is
    always 0 once decoded, because the RFC has the server ignore it then.
    """

    prefix_length: int
    hierarchical: bool = False
    information: bool = False

    def __init__(self, prefix_length: int, hierarchical: bool = False, information: bool = False) -> None:
        self.prefix_length = prefix_length
        self.hierarchical = hierarchical
        self.information = information


@dataclass(init=False, slots=True, unsafe_hash=True)
class Usage:
    """A client's report on one subnet, in addresses (RFC 6656 section 3.2.1.1); None is "not reported".

    Counts above 65534 are sent as 65534.
    """

    high_water: int | None = None
    in_use: int | None = None
    unusable: int | None = None

    def __init__(self, high_water: int | None = None, in_use: int | None = None, unusable: int | None = None) -> None:
        self.high_water = high_water
        self.in_use = in_use
        self.unusable = unusable


@dataclass(init=False, slots=True, unsafe_hash=True)
class SubnetBlock:
    """Subnet Prefix Information block: one subnet (RFC 6656 section 3.2.1). `usage` is None where statlen is 0.

    `address` is that of the network, a host-order integer without host bits.
    """

    address: int
    prefix_length: int
    deprecate: bool = False
    hierarchical: bool = False
    usage: Usage | None = None

    def __init__(
        self,
        address: int,
        prefix_length: int,
        deprecate: bool = False,
        hierarchical: bool = False,
        usage: Usage | None = None,
    ) -> None:
        self.address = address
        self.prefix_length = prefix_length
        self.deprecate = deprecate
        self.hierarchical = hierarchical
        self.usage = usage

    @classmethod
    def of(
        cls, network: IPv4Network, deprecate: bool = False, hierarchical: bool = False, usage: Usage | None = None
    ) -> SubnetBlock:
        """Return the block that is `network`."""
        return cls(int(network.network_address), network.prefixlen, deprecate, hierarchical, usage)

    @property
    def network(self) -> IPv4Network:
        """The subnet as a prefix; made anew each time, which takes longer than reading the block did."""
        return IPv4Network((self.address, self.prefix_length))


@dataclass(init=False, slots=True, unsafe_hash=True)
class SubnetInformation:
    """Subnet-Information: one or more subnets under one pair of flags (RFC 6656 section 3.2).

    `client` is the `c` flag, "in reply to a client's listing"; `server` is `s`, "the server has more for you".
    """

    blocks: tuple[SubnetBlock, ...]
    client: bool = False
    server: bool = False

    def __init__(self, blocks: tuple[SubnetBlock, ...], client: bool = False, server: bool = False) -> None:
        self.blocks = blocks
        self.client = client
        self.server = server


@dataclass(init=False, slots=True, unsafe_hash=True)
class SubnetAllocation:
    """All that the instances of option 220 in one message say (RFC 6656 section 3), each kind in wire order.

    `name` is the Subnet-Name; `suggested_lease_time` is in seconds.
    """

    requests: tuple[SubnetRequest, ...] = ()
    information: tuple[SubnetInformation, ...] = ()
    name: str | None = None
    suggested_lease_time: int | None = None

    def __init__(
        self,
        requests: tuple[SubnetRequest, ...] = (),
        information: tuple[SubnetInformation, ...] = (),
        name: str | None = None,
        suggested_lease_time: int | None = None,
    ) -> None:
        self.requests = requests
        self.information = information
        self.name = name
        self.suggested_lease_time = suggested_lease_time

    @classmethod
    def decode(cls, parts: Sequence[bytes]) -> SubnetAllocation:
        """Read the values of a message's instances of option 220, in wire order.

        A client may send several options, each with its own flags octet (RFC 6656 section 4.1), or one long option in
        several instances (RFC 3396); nothing on the wire says which. Each instance is read on its own, and joined with
        those after it where its last suboption runs over its end; all are joined where that fails. A later instance
        that begins with a non-zero octet is rather a continuation, since senders leave the flags zero: there, all
        joined is tried first.

        Raises MalformedOption where neither reading works. Values are never partly read.
        """
        if len(parts) == 1:
            return _read(parts)
        if not parts:
            raise MalformedOption("no option 220 to read")
        readings = [_options_of(parts), [b"".join(parts)]]
        if any(part and part[0] for part in parts[1:]):
            readings.reverse()
        try:
            return _read(readings[0])
        except MalformedOption as error:
            try:
                return _read(readings[1])
            except MalformedOption:
                raise error from None

    def encode(self) -> bytes:
        """Return the option's value: flags octet and suboptions, without code and length, however long.

        Raises ValueError where a field doesn't fit its place on the wire, or where there is no suboption at all.
        """
        payload = bytearray(1)  # the flags octet, of which no bit is defined
        for request in self.requests:
            payload += _write_request(request)
        for information in self.information:
            payload += _write_information(information)
        if self.name is not None:
            payload += _write_name(self.name)
        if self.suggested_lease_time is not None:
            payload += _write_suggested_lease_time(self.suggested_lease_time)
        if len(payload) == 1:
            raise ValueError("option 220 must hold at least one suboption (RFC 6656 section 3)")
        return bytes(payload)

    def encode_parts(self) -> tuple[bytes, ...]:
        """Return the value as instances of at most 255 octets each: the inverse of `decode` (see split_payload)."""
        return split_payload(self.encode())


class _Builder:
    """What has been read so far of one message's options 220; offsets are those of the option being read."""

    __slots__ = ("information", "name", "requests", "suggested_lease_time")

    def __init__(self) -> None:
        self.requests: list[SubnetRequest] = []
        self.information: list[SubnetInformation] = []
        self.name: str | None = None
        self.suggested_lease_time: int | None = None

    def take_name(self) -> str | None:
        """Return the name, and read on as if there had been none."""
        name, self.name = self.name, None
        return name

    def read(self, option: bytes) -> None:
        """Read one whole option: flags octet, then suboptions to its end."""
        end = len(option)
        if end < 2:
            raise MalformedOption(f"offset 0: the option is {end} octets long; it needs flags and a suboption")
        offset = 1
        while offset < end:
            value = offset + 2
            if value > end:
                raise MalformedOption(f"offset {offset}: suboption {option[offset]} has no length octet")
            stop = value + option[offset + 1]
            if stop > end:
                raise MalformedOption(
                    f"offset {offset}: suboption {option[offset]} announces {option[offset + 1]} octets, "
                    f"but only {end - value} are left"
                )
            reader = _READERS.get(option[offset])
            if reader is not None:
                reader(self, option, value, stop)
            offset = stop

    def read_request(self, option: bytes, start: int, stop: int) -> None:
        if stop - start != 2:
            raise MalformedOption(f"offset {start - 1}: Subnet-Request length {stop - start}, must be 2")
        flags = option[start]
        prefix_length = option[start + 1]
        information = flags & REQUEST_INFORMATION != 0
        if information:
            prefix_length = 0  # "MUST be ignored by the Server", RFC 6656 section 3.1
        elif prefix_length > LONGEST_PREFIX:
            raise MalformedOption(
                f"offset {start + 1}: requested prefix length {prefix_length}, must be 0 or 1 to {LONGEST_PREFIX}"
            )
        self.requests.append(SubnetRequest(prefix_length, flags & REQUEST_HIERARCHICAL != 0, information))

    def read_information(self, option: bytes, start: int, stop: int) -> None:
        if stop - start < 1 + BLOCK_HEADER:
            raise MalformedOption(
                f"offset {start - 1}: Subnet-Information length {stop - start}, must be {1 + BLOCK_HEADER} or more"
            )
        flags = option[start]
        blocks: list[SubnetBlock] = []
        offset = start + 1
        while offset < stop:
            block, offset = _read_block(option, offset, stop)
            blocks.append(block)
        self.information.append(
            SubnetInformation(tuple(blocks), flags & INFORMATION_CLIENT != 0, flags & INFORMATION_SERVER != 0)
        )

    def read_name(self, option: bytes, start: int, stop: int) -> None:
        # A terminating NUL "should NOT" be there (RFC 6656 section 3.3): dropped. One inside would make two names look
        # like one to whatever stops at it, and PostgreSQL's text can't hold it: refused.
        octets = option[start:stop].rstrip(b"\0")
        if not octets:
            raise MalformedOption(f"offset {start - 1}: Subnet-Name is empty")
        try:
            name = octets.decode()
        except UnicodeDecodeError as error:
            raise MalformedOption(
                f"offset {start + error.start}: Subnet-Name is not UTF-8 (octet 0x{octets[error.start]:02x})"
            ) from None
        if "\0" in name:
            raise MalformedOption(f"offset {start + octets.index(0)}: Subnet-Name has a NUL inside")
        if self.name is not None and self.name != name:
            raise MalformedOption(f"offset {start}: a second Subnet-Name, {name!r} after {self.name!r}")
        self.name = name

    def read_suggested_lease_time(self, option: bytes, start: int, stop: int) -> None:
        if stop - start != 4:
            raise MalformedOption(f"offset {start - 1}: Suggested-Lease-Time length {stop - start}, must be 4")
        if self.suggested_lease_time is not None:
            raise MalformedOption(f"offset {start - 2}: a second Suggested-Lease-Time; only one may appear")
        self.suggested_lease_time = int.from_bytes(option[start:stop], "big")


_READERS: Final[dict[int, Callable[[_Builder, bytes, int, int], None]]] = {
    int(Suboption.SUBNET_REQUEST): _Builder.read_request,
    int(Suboption.SUBNET_INFORMATION): _Builder.read_information,
    int(Suboption.SUBNET_NAME): _Builder.read_name,
    int(Suboption.SUGGESTED_LEASE_TIME): _Builder.read_suggested_lease_time,
}


def _read(options: Sequence[bytes]) -> SubnetAllocation:
    """Read whole options, each with its flags octet, into one value.

    Where they have different Subnet-Names, one answer could not say which of its blocks is for which name: the first name under which
    something is requested counts, and the client may ask again for what it requests under others (RFC 6656 section 4.1).
    """
    builder = _Builder()
    for option in options:
        name, requests = builder.take_name(), len(builder.requests)
        builder.read(option)
        if builder.name is None or (name is not None and requests):
            if builder.name not in (None, name):
                del builder.requests[requests:]
            builder.name = name
    return SubnetAllocation(
        tuple(builder.requests), tuple(builder.information), builder.name, builder.suggested_lease_time
    )


def _options_of(parts: Sequence[bytes]) -> list[bytes]:
    """Join each instance whose suboptions don't end with it to those that follow, until they do.

    Only the suboptions' lengths are looked at, once each, so that no sender can make this quadratic.
    """
    options: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    boundary = 1  # where the next suboption starts, in the option being joined
    headers = bytearray()  # the octets of that suboption's code and length seen so far
    for part in parts:
        pending.append(part)
        begin, size = size, size + len(part)
        while boundary < size:
            at = max(boundary + len(headers) - begin, 0)
            headers += part[at : at + 2 - len(headers)]
            if len(headers) < 2:
                break
            boundary += 2 + headers[1]
            headers.clear()
        if boundary == size and size > 1:
            options.append(b"".join(pending))
            pending.clear()
            size, boundary = 0, 1
    if pending:
        options.append(b"".join(pending))
    return options


def _read_block(option: bytes, offset: int, stop: int) -> tuple[SubnetBlock, int]:
    """Read the block at `offset` of a suboption that ends at `stop`; return it and the offset after it."""
    statistics = offset + BLOCK_HEADER
    if statistics > stop:
        raise MalformedOption(
            f"offset {offset}: {stop - offset} octets left in Subnet-Information, a block takes {BLOCK_HEADER}"
        )
    address, prefix_length, flags, length = _BLOCK.unpack_from(option, offset)
    if not 1 <= prefix_length <= LONGEST_PREFIX:
        raise MalformedOption(
            f"offset {offset + 4}: block prefix length {prefix_length}, must be 1 to {LONGEST_PREFIX}"
        )
    if address & (0xFFFFFFFF >> prefix_length):
        network = ".".join(map(str, option[offset : offset + 4]))
        raise MalformedOption(f"offset {offset}: network {network}/{prefix_length} has host bits set")
    end = statistics + length
    if end > stop:
        raise MalformedOption(
            f"offset {offset + 6}: block announces {end - statistics} octets of statistics, "
            f"but only {stop - statistics} are left"
        )
    usage = _read_usage(option[statistics:end]) if end > statistics else None
    block = SubnetBlock(address, prefix_length, flags & BLOCK_DEPRECATE != 0, flags & BLOCK_HIERARCHICAL != 0, usage)
    return block, end


def _read_usage(statistics: bytes) -> Usage:
    """Read what is whole of the three fields; later RFCs may append more (RFC 6656 section 3.2.1.1)."""
    fields: list[int | None] = []
    for offset in (0, 2, 4):
        field = statistics[offset : offset + 2]
        value = int.from_bytes(field, "big") if len(field) == 2 else NOT_REPORTED
        fields.append(None if value == NOT_REPORTED else value)
    return Usage(*fields)


def encode_block(network: int, prefix_length: int, hierarchical: bool, deprecate: bool, more: bool) -> bytes:
    """Return the value of an option 220 with one block and nothing else, `more` being flag s: what nearly every answer has.

    The same as of a SubnetAllocation, several times as fast. `network` is a host-order integer. Raises ValueError for a prefix length
    that no block has.
    """
    if not 1 <= prefix_length <= LONGEST_PREFIX:
        raise ValueError(f"prefix length {prefix_length}: must be 1 to {LONGEST_PREFIX}")
    flags = BLOCK_DEPRECATE * deprecate | BLOCK_HIERARCHICAL * hierarchical
    return _ONE_BLOCK.pack(
        0, _SUBNET_INFORMATION, 1 + BLOCK_HEADER, INFORMATION_SERVER * more, network, prefix_length, flags, 0
    )


def _write_request(request: SubnetRequest) -> bytes:
    if not 0 <= request.prefix_length <= LONGEST_PREFIX:
        raise ValueError(f"requested prefix length {request.prefix_length}: must be 0 or 1 to {LONGEST_PREFIX}")
    flags = REQUEST_HIERARCHICAL * request.hierarchical | REQUEST_INFORMATION * request.information
    prefix_length = 0 if request.information else request.prefix_length  # SHOULD be 0, RFC 6656 section 3.1
    return bytes((Suboption.SUBNET_REQUEST, 2, flags, prefix_length))


def _write_information(information: SubnetInformation) -> bytes:
    if not information.blocks:
        raise ValueError("Subnet-Information must hold at least one block (RFC 6656 section 3.2)")
    flags = INFORMATION_SERVER * information.server | INFORMATION_CLIENT * information.client
    value = bytes((flags,)) + b"".join(map(_write_block, information.blocks))
    if len(value) > 255:
        raise ValueError(
            f"Subnet-Information of {len(information.blocks)} blocks takes {len(value)} octets, at most 255 fit: "
            "spread the blocks over several"
        )
    return bytes((_SUBNET_INFORMATION, len(value))) + value


def _write_block(block: SubnetBlock) -> bytes:
    if not 1 <= block.prefix_length <= LONGEST_PREFIX:
        raise ValueError(f"block {block.network}: prefix length must be 1 to {LONGEST_PREFIX}")
    flags = BLOCK_DEPRECATE * block.deprecate | BLOCK_HIERARCHICAL * block.hierarchical
    statistics = b"" if block.usage is None else _write_usage(block.usage)
    return _BLOCK.pack(block.address, block.prefix_length, flags, len(statistics)) + statistics


def _write_usage(usage: Usage) -> bytes:
    # Always all three: "all ones SHOULD be used if the Client has no information to report" (RFC 6656 section 5.1).
    return b"".join(map(_write_count, (usage.high_water, usage.in_use, usage.unusable)))


def _write_count(count: int | None) -> bytes:
    if count is None:
        return NOT_REPORTED.to_bytes(2, "big")
    if count < 0:
        raise ValueError(f"usage count {count}: must not be negative")
    return min(count, LARGEST_COUNT).to_bytes(2, "big")


def _write_name(name: str) -> bytes:
    octets = name.encode()
    if not 1 <= len(octets) <= 255 or 0 in octets:
        raise ValueError(f"Subnet-Name {name!r}: must be 1 to 255 octets of UTF-8 without NUL")
    return bytes((Suboption.SUBNET_NAME, len(octets))) + octets


def _write_suggested_lease_time(seconds: int) -> bytes:
    if not 0 <= seconds <= 0xFFFFFFFF:
        raise ValueError(f"Suggested-Lease-Time {seconds}: must be 0 to 4294967295 seconds")
    return bytes((Suboption.SUGGESTED_LEASE_TIME, 4)) + seconds.to_bytes(4, "big")


def split_payload(payload: bytes) -> tuple[bytes, ...]:
    """Split a well-formed option value of any length into instances of at most 255 octets (RFC 3396 section 6).

    Any octet boundary would do for a receiver that joins first. One that reads each instance alone first, as RFC 6656
    section 4.1 invites it to, must fail on every piece rather than find other subnets in it. So each cut is made inside
    a suboption, which leaves the pieces up to it short, and where no piece is a readable option by itself; of such
    places the last is taken. There always is one: no piece of one or two octets is readable, and of the two octet
    boundaries that end such pieces at most one lies between suboptions.
    """
    if len(payload) <= MAX_INSTANCE:
        return (payload,)
    places = _places_to_cut(payload)
    cuts = [0]
    while cuts[-1] < len(payload):
        cuts.append(_next_cut(payload, places, cuts[-1]))
    return tuple(payload[start:stop] for start, stop in pairwise(cuts))


def _places_to_cut(payload: bytes) -> list[int]:
    """Return the offsets inside suboptions, in order."""
    places: list[int] = []
    start = 1
    while start < len(payload):
        stop = start + 2 + payload[start + 1]
        places.extend(range(start + 1, stop))
        start = stop
    return places


def _next_cut(payload: bytes, places: Sequence[int], start: int) -> int:
    """Return the last end, among `places` and the payload's own, that leaves the piece from `start` unreadable.

    An end that leaves a readable last piece, which would have to be cut once more, is taken only if there is no other.
    """
    limit = start + MAX_INSTANCE
    if limit >= len(payload) and not _is_readable(payload[start:]):
        return len(payload)
    ends = places[bisect_right(places, start) : bisect_right(places, limit)]
    return next(
        cut
        for choosy in (True, False)
        for cut in reversed(ends)
        if not _is_readable(payload[start:cut])
        and not (choosy and len(payload) - cut <= MAX_INSTANCE and _is_readable(payload[cut:]))
    )


def _is_readable(piece: bytes) -> bool:
    try:
        _read((piece,))
    except MalformedOption:
        return False
    return True
