# SPDX-License-Identifier: MPL-2.0
"""The DHCPv4 option fields: option numbers, scanning, writing, and long options (RFC 2132, RFC 3396)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

PAD: Final = 0
END: Final = 255
MAX_INSTANCE: Final = 255
"""Octets that one instance of an option can hold; a longer value takes several instances (RFC 3396)."""


class Option(enum.IntEnum):
    """The options this project reads or writes, by number."""

    MESSAGE = 56
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_IDENTIFIER = 54
    MAX_MESSAGE_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    CLIENT_IDENTIFIER = 61
    RELAY_AGENT_INFORMATION = 82
    AUTHENTICATION = 90
    SUBNET_SELECTION = 118
    FORCERENEW_NONCE_CAPABLE = 145
    SUBNET_ALLOCATION = 220
    VIRTUAL_SUBNET_SELECTION = 221


_SUBNET_ALLOCATION: Final = int(Option.SUBNET_ALLOCATION)
# Plain integers: these are looked up for every message, and an enum member's hash is a Python call.
FIXED_LENGTHS: Final[Mapping[int, int]] = {
    int(Option.REQUESTED_ADDRESS): 4,
    int(Option.LEASE_TIME): 4,
    int(Option.OVERLOAD): 1,
    int(Option.MESSAGE_TYPE): 1,
    int(Option.SERVER_IDENTIFIER): 4,
    int(Option.MAX_MESSAGE_SIZE): 2,
    int(Option.RENEWAL_TIME): 4,
    int(Option.REBINDING_TIME): 4,
    int(Option.SUBNET_SELECTION): 4,
}
"""Options whose value always has the same length, in octets (RFC 2132 section 9, RFC 3011 section 2)."""


class MalformedMessage(ValueError):
    """The octets are not a DHCPv4 message; the text says at which offset, what, and the value found."""


def scan_options(data: bytes, start: int, end: int, options: dict[int, bytes], parts: list[bytes]) -> None:
    """Read one options field, `data[start:end]`, into `options`; what an option has there already, it continues.

    The value of each option 220 goes to `parts` instead: RFC 6656 section 4.1 has several of them.

    A field that ends without an END option is read to its end, as Kea does; what follows END is ignored.
    Raises MalformedMessage where an option runs over the end of its field.
    Source: RFC 2132 sections 2 and 3.1-3.2, RFC 3396 section 7.
    """
    offset = start
    while offset < end:
        code = data[offset]
        if code == PAD:
            offset += 1
            continue
        if code == END:
            return
        value = offset + 2
        if value > end:
            raise MalformedMessage(f"offset {offset}: option {code} has no length octet")
        stop = value + data[offset + 1]
        if stop > end:
            raise MalformedMessage(
                f"offset {offset}: option {code} announces {data[offset + 1]} octets, but only {end - value} are left"
            )
        if code == _SUBNET_ALLOCATION:
            parts.append(data[value:stop])
        elif code in options:
            options[code] += data[value:stop]
        else:
            options[code] = data[value:stop]
        offset = stop


def write_option(code: int, value: bytes) -> bytes:
    """Return option `code` with `value`, in as many instances as it takes (RFC 3396 section 6).

    Raises ValueError for codes 0 and 255, which are PAD and END and hold no value, and for numbers that fit no octet.
    """
    if not PAD < code < END:
        raise ValueError(f"option code {code}: only 1 to 254 can hold a value")
    if len(value) <= MAX_INSTANCE:
        return bytes((code, len(value))) + value
    return write_instances(code, (value[at : at + MAX_INSTANCE] for at in range(0, len(value), MAX_INSTANCE)))


def write_instances(code: int, parts: Iterable[bytes]) -> bytes:
    """Return one instance of option `code` for each of `parts`, of at most 255 octets each."""
    return b"".join([bytes((code, len(part))) + part for part in parts])
