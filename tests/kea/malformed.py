# SPDX-License-Identifier: MPL-2.0
"""Messages with option 220 that RFC 6656, 2131 or 2132 forbids, built octet by octet: what a server must not answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from tests.client.codec import HEADER, MAGIC, Type, Violation, decode_allocation
from tests.client.rfc6656 import Identity

SUBNET_REQUEST = bytes.fromhex("00 01 02 00 18")
TWO_BLOCKS = bytes.fromhex("00 02 0f 00 0a 00 02 00 18 00 00 0a 00 03 00 1c 00 00")
RENEWAL = bytes.fromhex("00 02 0e 00 0a 00 02 00 18 00 06 00 0a 00 07 00 02")
NAME = bytes.fromhex("00 01 02 00 18 03 05") + b"sales"
LEASE_TIME = bytes.fromhex("00 01 02 00 18 04 04 00 00 0e 10")
RANDOM_OPTIONS = 60

Bad = tuple[str, bytes]  # what is wrong, the UDP payload


def option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


def payload(
    options: bytes,
    giaddr: bytes,
    *,
    kind: Type | None = Type.DISCOVER,
    op: int = 1,
    hlen: int = 6,
    identified: bool = True,
    sname: bytes = b"",
    file: bytes = b"",
    end: bytes = b"\xff",
) -> bytes:
    """A message of a client that no other message is from, with `options` after its type and client identifier."""
    identity = Identity.fresh()
    header = HEADER.pack(
        op, 1, hlen, 1, random.getrandbits(32), 0, 0, bytes(4), bytes(4), bytes(4), giaddr, identity.hardware, sname, file
    )  # fmt: skip
    own = b"" if kind is None else option(53, bytes((kind,)))
    own += option(61, identity.identifier or b"") if identified else b""
    return header + MAGIC + own + options + end


def malformed(giaddr: bytes) -> Iterator[Bad]:
    """Everything that comes with option 220 and can't be read. Each server counts each as `malformed`."""
    for why, value in _option_values():
        yield why, payload(option(220, value), giaddr)
    for why, value in _request_values():
        yield why, payload(option(54, b"\xc6\x33\x64\x01") + option(220, value), giaddr, kind=Type.REQUEST)
        yield f"{why}, in a renewal", payload(option(220, value), giaddr, kind=Type.REQUEST)
        yield f"{why}, in a RELEASE", payload(option(220, value), giaddr, kind=Type.RELEASE)
    yield from _several_options(giaddr)
    yield from _messages(giaddr)


def option_values() -> Iterator[bytes]:
    """Values of option 220 that can't be read, whoever sends them."""
    for _, value in itertools.chain(_option_values(), _request_values()):
        yield value


def _option_values() -> Iterator[Bad]:
    yield "empty option", b""
    yield "flags alone", b"\0"
    for whole in (SUBNET_REQUEST, TWO_BLOCKS, RENEWAL, NAME, LEASE_TIME):
        for length in range(2, len(whole)):
            if not _readable(whole[:length]):
                yield f"cut to {length} octets", whole[:length]
    for prefix in range(31, 256):
        yield f"Subnet-Request for a /{prefix}", bytes((0, 1, 2, 0, prefix))
    for length in (0, 1, 3, 4, 255):
        yield f"Subnet-Request of {length} octets", bytes((0, 1, length)) + b"\0\x18\0\0"[:length]
    for name in (b"\xff", b"\xc3", b"a\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        yield "Subnet-Name that is not UTF-8", SUBNET_REQUEST + option(3, name)
    yield "empty Subnet-Name", SUBNET_REQUEST + option(3, b"")
    for length in (0, 1, 2, 3, 5, 8):
        yield f"Suggested-Lease-Time of {length} octets", SUBNET_REQUEST + option(4, bytes(length))
    yield "two Suggested-Lease-Times", SUBNET_REQUEST + option(4, bytes(4)) * 2
    for value in _random_values(random.Random(6656)):
        yield f"random octets {value.hex()}", value


def _request_values() -> Iterator[Bad]:
    for prefix in (0, 31, 32, 33, 64, 127, 128, 255):
        yield f"block with prefix length {prefix}", bytes((0, 2, 8, 0, 10, 0, 0, 0, prefix, 0, 0))
    for network, prefix in ((b"\x0a\0\2\1", 24), (b"\x0a\0\2\x80", 24), (b"\x0a\0\2\2", 30), (b"\x80\0\0\1", 1)):
        yield f"host bits in {network.hex()}/{prefix}", b"\0\2\x08\0" + network + bytes((prefix, 0, 0))
    for length in (1, 2, 6, 255):
        yield f"statistics of {length} octets that are not there", bytes((0, 2, 8, 0, 10, 0, 2, 0, 24, 0, length))
    yield "statistics that run into the next suboption", bytes((0, 2, 8, 0, 10, 0, 2, 0, 24, 0, 2)) + LEASE_TIME[5:]
    for length in (0, 1, 7, 9, 14):
        yield f"Subnet-Information of {length} octets", b"\0" + option(2, TWO_BLOCKS[3 : 3 + length])


def _random_values(generator: random.Random) -> Iterator[bytes]:
    """Random values that RFC 6656 forbids, as the independent decoder reads it.

    It alone insists on whole 16-bit statistics, which a server may leave to the future (3.2.1.1): those don't count.
    """
    count = 0
    while count < RANDOM_OPTIONS:
        value = bytes((0, generator.choice((1, 2, 2, 3, 4, 200)))) + generator.randbytes(generator.randrange(1, 60))
        try:
            decode_allocation(value)
        except Violation as violation:
            if "RFC 6656 3.2.1.1" not in str(violation):
                count += 1
                yield value


def _several_options(giaddr: bytes) -> Iterator[Bad]:
    for at in range(1, len(SUBNET_REQUEST)):
        parts = option(220, SUBNET_REQUEST[:at]) + option(220, SUBNET_REQUEST[at:-1])
        yield f"split at {at}, its end missing", payload(parts, giaddr)
    good = option(220, SUBNET_REQUEST)
    yield "a second option that is cut", payload(good + option(220, SUBNET_REQUEST[:-1]), giaddr)
    # Cut by one octet less, the two together would read as one option for two subnets (RFC 3396).
    yield "a first option that is cut", payload(option(220, SUBNET_REQUEST[:3]) + good, giaddr)
    yield "a second option of flags alone", payload(good + option(220, b"\0"), giaddr)
    yield "Suggested-Lease-Time in each of two options", payload(option(220, LEASE_TIME) * 2, giaddr)
    # Overload (RFC 2132 9.3): the second half stands in the file or sname field.
    for fields_used, place in ((1, "file"), (2, "sname"), (3, "sname")):
        overload = option(52, bytes((fields_used,)))
        fields = {place: option(220, SUBNET_REQUEST[:-1]) + b"\xff"}
        yield f"cut in the {place} field", payload(overload, giaddr, **fields)  # type: ignore[arg-type]
        fields = {place: b"\xdc\x7fX"}
        yield f"runs over the {place} field", payload(overload, giaddr, **fields)  # type: ignore[arg-type]
    for value in (b"\0", b"\4", b"\xff", b"", b"\1\1"):
        yield f"overload {value.hex()}", payload(option(52, value) + good, giaddr)


def _messages(giaddr: bytes) -> Iterator[Bad]:
    """What is wrong outside of a readable option 220."""
    good = option(220, SUBNET_REQUEST)
    yield "option 220 runs over the end of the message", payload(b"\xdc\x20\0\1\2\0\x18", giaddr, end=b"")
    yield "option 220 without a length", payload(b"\xdc", giaddr, end=b"")
    yield "another option runs over the end", payload(good + b"\x0c\x40abc", giaddr, end=b"")
    yield "no message type", payload(good, giaddr, kind=None)
    yield "an unknown message type", payload(option(53, b"\xc8") + good, giaddr, kind=None)
    yield "a message type of two octets", payload(option(53, b"\1\1") + good, giaddr, kind=None)
    yield "two message types", payload(option(53, b"\3") + good, giaddr)
    yield "op 3", payload(good, giaddr, op=3)
    for relay in (b"\xe0\0\0\1", b"\xef\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\1"):
        yield f"of a relay at {relay.hex()}", payload(good, relay)
    yield "a hardware address of 17 octets", payload(good, giaddr, hlen=17)
    yield "no client identity", payload(good, giaddr, hlen=0, identified=False)
    yield "a client identifier of one octet", payload(option(61, b"\1") + good, giaddr, identified=False)
    yield "a lease time of three octets", payload(option(51, bytes(3)) + good, giaddr)
    yield "a server identifier of five octets", payload(option(54, bytes(5)) + good, giaddr, kind=Type.REQUEST)
    for kind in (Type.REQUEST, Type.RELEASE):
        yield f"Subnet-Request in a {kind.name}", payload(option(54, b"\xc6\x33\x64\x01") + good, giaddr, kind=kind)


def not_for_us(giaddr: bytes) -> Iterator[Bad]:
    """What is no DHCP message with option 220: nothing of it may reach the delegation at all."""
    good = payload(option(220, SUBNET_REQUEST), giaddr)
    yield "nothing", b"\0"
    yield "cut in the header", good[:236]
    yield "cut before the options", good[:240]
    yield "another magic cookie", good[:236] + b"\x63\x82\x53\x64" + good[240:]
    yield "option 220 after the end", payload(b"\xff" + option(220, SUBNET_REQUEST), giaddr, kind=Type.RELEASE)
    yield "option 220 inside of another", payload(option(43, option(220, SUBNET_REQUEST)), giaddr, kind=Type.RELEASE)


def well_formed_but_silent(giaddr: bytes) -> Iterator[Bad]:
    """What can be read and is not to be answered: counted as `silent`."""
    good, held = option(220, SUBNET_REQUEST), option(220, TWO_BLOCKS)
    for kind in (Type.DECLINE, Type.INFORM, Type.FORCERENEW):
        yield kind.name, payload(good, giaddr, kind=kind)
    for kind in (Type.OFFER, Type.ACK, Type.NAK):
        yield f"{kind.name} of a server", payload(held, giaddr, kind=kind, op=2)
    yield "a DISCOVER that is a reply", payload(good, giaddr, op=2)
    yield "an unknown suboption alone", payload(option(220, b"\0\xc8\1\0"), giaddr)
    yield "a renewal of what it does not hold", payload(held, giaddr, kind=Type.REQUEST)
    yield "a RELEASE of what it does not hold", payload(held, giaddr, kind=Type.RELEASE)
    yield "a listing of nothing", payload(option(220, b"\0\1\2\2\0"), giaddr)


def _readable(value: bytes) -> bool:
    try:
        decode_allocation(value)
    except Violation:
        return False
    return True
