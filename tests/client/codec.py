# SPDX-License-Identifier: MPL-2.0
"""DHCPv4 messages and the Subnet Allocation option (RFC 2131, 2132, 3396, 6656) as bytes and as values.

The decoder is strict: what RFC 2131 or RFC 6656 forbids raises `Violation` here or in `tests.client.verdict`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

MAGIC = bytes((99, 130, 83, 99))  # RFC 2131 3
HEADER = struct.Struct("!4B I 2H 4s4s4s4s 16s 64s 128s")  # RFC 2131 figure 1
ZERO = IPv4Address(0)
BOOTP_MINIMUM = 300  # octets, RFC 1542 2.1
UNREPORTED = 0xFFFF  # RFC 6656 3.2.1.1


class Violation(AssertionError):  # of another party
    """A message breaks a rule; the text names the rule's source, the field and what was found."""


def insist(holds: bool, source: str, text: str) -> None:
    """Raise `Violation` unless `holds`. `source` is the paragraph that demands it, `text` what was found."""
    if not holds:
        raise Violation(f"{source}: {text}")


class Type(enum.IntEnum):
    """DHCP message types (RFC 2132 9.6, RFC 3203 4)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8
    FORCERENEW = 9


class Code(enum.IntEnum):
    """The DHCP options used here (RFC 2132, 3011, 3046, 3118, 6607, 6656, 6704)."""

    PAD = 0
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_IDENTIFIER = 54
    PARAMETER_LIST = 55
    MAXIMUM_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    CLIENT_IDENTIFIER = 61
    RELAY_INFORMATION = 82
    AUTHENTICATION = 90
    SUBNET_SELECTION = 118
    FORCERENEW_NONCE_CAPABLE = 145
    SUBNET_ALLOCATION = 220
    VSS = 221
    END = 255


@dataclass(frozen=True, slots=True)
class Request:
    """Subnet-Request suboption (RFC 6656 3.1). `prefix` is a prefix length, 0 for no suggestion."""

    prefix: int
    hierarchical: bool = True
    information: bool = False
    undefined: int = 0  # flag bits that RFC 6656 does not define

    def encode(self) -> bytes:
        return bytes((1, 2, self.undefined | self.information << 1 | self.hierarchical, self.prefix))

    def __str__(self) -> str:
        if self.information:
            return "request: what do I hold?"
        return f"request /{self.prefix or '?'}{' h' if self.hierarchical else ''}"


@dataclass(frozen=True, slots=True)
class Block:
    """Subnet Prefix Information block (RFC 6656 3.2.1).

    `statistics` holds the 16-bit fields as sent (high water, in use, unusable, ...), 0xffff for one that is not
    reported.
    """

    network: IPv4Network
    hierarchical: bool = True
    deprecate: bool = False
    statistics: tuple[int, ...] = ()
    undefined: int = 0

    def encode(self) -> bytes:
        flags = self.undefined | self.hierarchical << 1 | self.deprecate
        head = self.network.network_address.packed + bytes((self.network.prefixlen, flags, 2 * len(self.statistics)))
        return head + struct.pack(f"!{len(self.statistics)}H", *self.statistics)

    def using(self, high_water: int, in_use: int, unusable: int = UNREPORTED) -> Block:
        """The same block with usage statistics (numbers of addresses, RFC 6656 3.2.1.1), as a renewal carries it."""
        return Block(self.network, self.hierarchical, False, (high_water, in_use, unusable))

    def bare(self) -> Block:
        """The same block without statistics and the server's deprecate flag, as a REQUEST or RELEASE carries it."""
        return Block(self.network, self.hierarchical)

    def __str__(self) -> str:
        names = ("high", "in use", "unusable")
        usage = [f"{name} {value}" for name, value in zip(names, self.statistics, strict=False) if value != UNREPORTED]
        marks = [mark for mark, shown in (("h", self.hierarchical), ("DEPRECATED", self.deprecate)) if shown]
        return " ".join([str(self.network), *marks, *([f"({', '.join(usage)})"] if usage else [])])


@dataclass(frozen=True, slots=True)
class Information:
    """Subnet-Information suboption (RFC 6656 3.2)."""

    blocks: tuple[Block, ...]
    client: bool = False
    server: bool = False
    undefined: int = 0

    def encode(self) -> bytes:
        body = bytes((self.undefined | self.client << 1 | self.server,)) + b"".join(b.encode() for b in self.blocks)
        return bytes((2, len(body))) + body

    def __str__(self) -> str:
        marks = "".join(f" {mark}" for mark, shown in (("c", self.client), ("s", self.server)) if shown)
        return f"subnets{marks}: " + ", ".join(map(str, self.blocks))


@dataclass(frozen=True, slots=True)
class Allocation:
    """The whole option 220 (RFC 6656 3)."""

    requests: tuple[Request, ...] = ()
    information: tuple[Information, ...] = ()
    names: tuple[str, ...] = ()
    lease_times: tuple[int, ...] = ()  # Suggested-Lease-Time, seconds
    unknown: tuple[int, ...] = ()  # codes of suboptions that RFC 6656 does not define
    flags: int = 0

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(block for information in self.information for block in information.blocks)

    def encode(self) -> bytes:
        """The option's value: everything after its code and length."""
        names = (name.encode() for name in self.names)
        return b"".join(
            (
                bytes((self.flags,)),
                *(request.encode() for request in self.requests),
                *(information.encode() for information in self.information),
                *(bytes((3, len(name))) + name for name in names),
                *(struct.pack("!2BI", 4, 4, seconds) for seconds in self.lease_times),
            )
        )

    def __add__(self, other: Allocation) -> Allocation:
        return Allocation(
            self.requests + other.requests,
            self.information + other.information,
            self.names + other.names,
            self.lease_times + other.lease_times,
            self.unknown + other.unknown,
            self.flags | other.flags,
        )

    def __str__(self) -> str:
        parts = [*map(str, self.requests), *map(str, self.information)]
        parts += [f"name {name!r}" for name in self.names] + [f"lease hosts {t} s" for t in self.lease_times]
        return "; ".join(parts)


def information(*blocks: Block) -> Allocation:
    """An option 220 with as many Subnet-Information suboptions as the blocks need: one holds at most 255 octets."""
    fit = 254 // max(map(len, (block.encode() for block in blocks)), default=254)
    return Allocation(information=tuple(Information(blocks[i : i + fit]) for i in range(0, len(blocks), fit)))


def decode_allocation(value: bytes) -> Allocation:
    """Decode one option 220. Raises `Violation` where its structure breaks RFC 6656 3."""
    insist(len(value) >= 3, "RFC 6656 3", f"option 220 holds no suboption: {value.hex()}")
    result = Allocation(flags=value[0])
    at = 1
    while at < len(value):
        insist(at + 2 <= len(value), "RFC 6656 3", f"suboption without length at {at}: {value.hex()}")
        code, length = value[at], value[at + 1]
        body = value[at + 2 : at + 2 + length]
        insist(len(body) == length, "RFC 6656 3", f"suboption {code} at {at} runs over the end: {value.hex()}")
        result += _decode_suboption(code, body)
        at += 2 + length
    return result


def _decode_suboption(code: int, body: bytes) -> Allocation:
    if code == 1:
        insist(len(body) == 2, "RFC 6656 3.1", f"Subnet-Request of {len(body)} octets")
        insist(body[1] <= 30, "RFC 6656 4.1", f"Subnet-Request for a /{body[1]}")
        return Allocation(requests=(Request(body[1], bool(body[0] & 1), bool(body[0] & 2), body[0] & 0xFC),))
    if code == 2:
        insist(len(body) >= 8, "RFC 6656 3.2", f"Subnet-Information of {len(body)} octets")
        blocks = tuple(_decode_blocks(body[1:]))
        return Allocation(information=(Information(blocks, bool(body[0] & 2), bool(body[0] & 1), body[0] & 0xFC),))
    if code == 3:
        insist(len(body) >= 1, "RFC 6656 3.3", "empty Subnet-Name")
        try:
            return Allocation(names=(body.decode(),))
        except UnicodeDecodeError as error:
            raise Violation(f"RFC 6656 3.3: Subnet-Name is not UTF-8: {body.hex()}") from error
    if code == 4:
        insist(len(body) == 4, "RFC 6656 3.4", f"Suggested-Lease-Time of {len(body)} octets")
        return Allocation(lease_times=(int.from_bytes(body, "big"),))
    return Allocation(unknown=(code,))


def _decode_blocks(body: bytes) -> Iterator[Block]:
    at = 0
    while at < len(body):
        insist(at + 7 <= len(body), "RFC 6656 3.2.1", f"truncated block at {at}: {body.hex()}")
        prefix, flags, length = body[at + 4 : at + 7]
        stats = body[at + 7 : at + 7 + length]
        insist(len(stats) == length, "RFC 6656 3.2.1", f"statistics run over the end: {body.hex()}")
        insist(length % 2 == 0, "RFC 6656 3.2.1.1", f"statistics of {length} octets")
        insist(1 <= prefix <= 30, "RFC 6656 4.1", f"block with prefix length {prefix}")
        address = IPv4Address(body[at : at + 4])
        insist(int(address) & ((1 << 32 - prefix) - 1) == 0, "RFC 6656 3.2.1", f"host bits set in {address}/{prefix}")
        values = struct.unpack(f"!{length // 2}H", stats)
        yield Block(IPv4Network((address, prefix)), bool(flags & 2), bool(flags & 1), values, flags & 0xFC)
        at += 7 + length


@dataclass(frozen=True, slots=True)
class Message:
    """A DHCPv4 message. `options` are the instances in the order of the wire, unjoined."""

    type: Type
    xid: int
    chaddr: bytes
    op: int = 1
    htype: int = 1
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = ZERO
    yiaddr: IPv4Address = ZERO
    siaddr: IPv4Address = ZERO
    giaddr: IPv4Address = ZERO
    options: tuple[tuple[int, bytes], ...] = ()
    overloaded: tuple[int, ...] = field(default=(), compare=False)  # codes found in the sname and file fields

    def instances(self, code: int) -> list[bytes]:
        return [value for number, value in self.options if number == code]

    def option(self, code: int) -> bytes | None:
        """The value of an option, its parts joined as RFC 3396 says, or None."""
        parts = self.instances(code)
        return b"".join(parts) if parts else None

    @property
    def server(self) -> IPv4Address | None:
        value = self.option(Code.SERVER_IDENTIFIER)
        return IPv4Address(value) if value is not None and len(value) == 4 else None

    @property
    def lease_time(self) -> int | None:
        """Option 51, seconds."""
        value = self.option(Code.LEASE_TIME)
        return None if value is None else int.from_bytes(value, "big")

    @property
    def allocation(self) -> Allocation:
        """Option 220.

        Each instance read on its own (RFC 6656 4.1), or where that fails all of them joined (RFC 3396).
        """
        parts = self.instances(Code.SUBNET_ALLOCATION)
        insist(bool(parts), "RFC 6656 3", "no option 220")
        try:
            result = decode_allocation(parts[0])
            for part in parts[1:]:
                result += decode_allocation(part)
            return result
        except Violation:
            if len(parts) == 1:
                raise
            return decode_allocation(b"".join(parts))

    def encode(self) -> bytes:
        """The UDP payload.

        Options of more than 255 octets are split (RFC 3396), short messages padded (RFC 1542 2.1).
        """
        header = HEADER.pack(
            self.op, self.htype, len(self.chaddr), self.hops, self.xid, self.secs, self.flags,
            self.ciaddr.packed, self.yiaddr.packed, self.siaddr.packed, self.giaddr.packed, self.chaddr, b"", b"",
        )  # fmt: skip
        out = [header, MAGIC, bytes((Code.MESSAGE_TYPE, 1, self.type))]
        for code, value in self.options:
            if code == Code.MESSAGE_TYPE:
                continue
            for start in range(0, max(len(value), 1), 255):
                part = value[start : start + 255]
                out += [bytes((code, len(part))), part]
        return (b"".join(out) + bytes((Code.END,))).ljust(BOOTP_MINIMUM, b"\0")


def decode(data: bytes) -> Message:
    """Decode a UDP payload. Raises `Violation` where it is no well-formed DHCPv4 message."""
    insist(len(data) >= HEADER.size + 4, "RFC 2131 2", f"message of {len(data)} octets")
    op, htype, hlen, hops, xid, secs, flags, *addresses, chaddr, sname, file = HEADER.unpack_from(data)
    insist(data[HEADER.size : HEADER.size + 4] == MAGIC, "RFC 2131 3", "no magic cookie")
    insist(hlen <= 16, "RFC 2131 2", f"hlen {hlen}")
    options = list(_decode_options(data[HEADER.size + 4 :]))
    fields = {1: [file], 2: [sname], 3: [file, sname]}  # RFC 2132 9.3; the order of RFC 3396 5
    overload = next((value for code, value in options if code == Code.OVERLOAD), b"")
    more = [option for text in fields.get(overload[0] if overload else 0, []) for option in _decode_options(text)]
    insist(not chaddr[hlen:].strip(b"\0"), "RFC 2131 2", f"chaddr continues beyond hlen {hlen}: {chaddr.hex()}")
    kinds = [value for code, value in options + more if code == Code.MESSAGE_TYPE]
    insist(len(kinds) == 1 and len(kinds[0]) == 1, "RFC 2132 9.6", f"option 53 is {[k.hex() for k in kinds]}")
    insist(kinds[0][0] in list(Type), "RFC 2132 9.6", f"message type {kinds[0][0]}")
    ciaddr, yiaddr, siaddr, giaddr = map(IPv4Address, addresses)
    return Message(
        Type(kinds[0][0]), xid, chaddr[:hlen], op, htype, hops, secs, flags, ciaddr, yiaddr, siaddr, giaddr,
        tuple(options + more), tuple(code for code, _ in more),
    )  # fmt: skip


def _decode_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while True:
        insist(at < len(data), "RFC 2131 4.1", "options without an end")
        code = data[at]
        if code == Code.END:
            break
        if code == Code.PAD:
            at += 1
            continue
        insist(at + 2 <= len(data), "RFC 2132 2", f"option {code} without length")
        value = data[at + 2 : at + 2 + data[at + 1]]
        insist(len(value) == data[at + 1], "RFC 2132 2", f"option {code} runs over the end")
        yield code, value
        at += 2 + len(value)
    insist(not data[at + 1 :].strip(b"\0"), "RFC 2131 4.1", f"octets after the end option: {data[at + 1 :].hex()}")
