# SPDX-License-Identifier: MPL-2.0
"""What a broken or hostile server may send where an answer is due: none of it is one, by the RFCs' words."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

from tests.client.codec import Code, Message, Violation, decode_allocation
from tests.kea.malformed import option_values

RANDOM = 60


def garbage(good: Message) -> Iterator[bytes]:
    """More than a hundred ways to spoil an answer, `good`: with an option 220 that can't be read, cut, or with octets changed."""
    for value in option_values():
        yield _with(good, Code.SUBNET_ALLOCATION, value).encode()
    whole = good.encode().rstrip(b"\0")
    for length in (*range(0, 244, 20), *range(244, len(whole) - 1, 3)):
        yield whole[:length]
    for code, value in good.options:
        if code in (Code.SERVER_IDENTIFIER, Code.LEASE_TIME, Code.CLIENT_IDENTIFIER):
            for wrong in (b"", value[:-1], value + b"\0", value * 2):
                yield _with(good, code, wrong).encode()
    yield from _changed(good, random.Random(220))


def _with(message: Message, code: int, value: bytes) -> Message:
    return dataclasses.replace(
        message, options=tuple((one, value if one == code else given) for one, given in message.options)
    )


def _changed(good: Message, generator: random.Random) -> Iterator[bytes]:
    """Octets of option 220 changed at random, where that makes what no client may read."""
    whole = good.option(Code.SUBNET_ALLOCATION) or b""
    count = 0
    while count < RANDOM:
        octets = bytearray(whole)
        for _ in range(generator.randrange(1, 6)):
            octets[generator.randrange(len(octets))] = generator.randrange(256)
        if not _readable(bytes(octets)):
            count += 1
            yield _with(good, Code.SUBNET_ALLOCATION, bytes(octets)).encode()


def _readable(value: bytes) -> bool:
    """Whether the independent decoder reads it, or insists only on what is left to the future (RFC 6656 3.2.1.1)."""
    try:
        decode_allocation(value)
    except Violation as violation:
        return "RFC 6656 3.2.1.1" in str(violation)
    return True
