# SPDX-License-Identifier: MPL-2.0
"""What relays add: option 82 and its sub-options (RFC 3046, RFC 3527, RFC 5107, RFC 6607, RFC 8357), and VPNs (RFC 6607)."""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from kea_subnet_deleg.wire.options import MalformedMessage

VPN_ID_LENGTH: Final = 7
"""Octets of a VPN-ID: three of OUI and four of index (RFC 2685 section 4)."""


class Suboption(enum.IntEnum):
    """The sub-options of option 82 that mean something here, by number."""

    CIRCUIT_ID = 1  # RFC 3046 section 3.1
    REMOTE_ID = 2  # RFC 3046 section 3.2
    LINK_SELECTION = 5  # RFC 3527 section 3
    SERVER_IDENTIFIER_OVERRIDE = 11  # RFC 5107 section 4
    SOURCE_PORT = 19  # RFC 8357 section 4.1
    VSS = 151  # RFC 6607 section 3.2
    VSS_CONTROL = 152  # RFC 6607 section 3.3


class VssKind(enum.Enum):
    """How a VPN is named (RFC 6607 section 3.5)."""

    NAME = 0
    VPN_ID = 1
    GLOBAL = 255
    UNKNOWN = None
    """By no assigned type, or by octets that don't fit the type: a VPN, but none that could be known here."""


@dataclass(frozen=True, slots=True)
class Vss:
    """Virtual subnet selection: the VPN that addresses belong to (RFC 6607 section 3.5). Equal values name one VPN.

    `octets` is the name in ASCII, the VPN-ID of 7 octets, or nothing where `kind` is GLOBAL; where it is UNKNOWN, type and
    information as they came. What can't be read becomes such a value rather than none or an error, because the sender
    wants some VPN: it must not be served from the global one as if it had asked for that.
    """

    kind: VssKind
    octets: bytes = b""

    @classmethod
    def decode(cls, value: bytes) -> Vss:
        """Read the value of option 221 or sub-option 151; a name's terminating NULs, which MUST NOT be there, are dropped."""
        information = value[1:]
        match value[:1]:
            case b"\x00":
                name = information.rstrip(b"\0")
                if name and name.isascii() and 0 not in name:
                    return cls(VssKind.NAME, name)
            case b"\x01" if len(information) == VPN_ID_LENGTH:
                return cls(VssKind.VPN_ID, information)
            case b"\xff" if not information:
                return cls(VssKind.GLOBAL)
        return cls(VssKind.UNKNOWN, value)

    @classmethod
    def named(cls, name: str) -> Vss:
        """Return the VPN called `name`; raises ValueError where that is no ASCII name of 1 to 254 characters."""
        if not 1 <= len(name) <= 254 or not name.isascii() or "\0" in name:
            raise ValueError(f"VPN name {name!r}: must be 1 to 254 ASCII characters without NUL (RFC 6607 section 3.5)")
        return cls(VssKind.NAME, name.encode())

    @classmethod
    def numbered(cls, vpn_id: str) -> Vss:
        """Return the VPN with `vpn_id` in hexadecimal, as `00003f:00000001` or without the colon; raises ValueError."""
        digits = vpn_id.replace(":", "", 1) if vpn_id[6:7] == ":" else vpn_id
        if len(digits) != 2 * VPN_ID_LENGTH or not set(digits) <= set("0123456789abcdefABCDEF"):
            raise ValueError(
                f"VPN-ID {vpn_id!r}: must be 14 hexadecimal digits, OUI and index, such as 00003f:00000001 (RFC 2685)"
            )
        return cls(VssKind.VPN_ID, bytes.fromhex(digits))

    def encode(self) -> bytes:
        """Return the value of option 221 or sub-option 151."""
        return self.octets if self.kind is VssKind.UNKNOWN else bytes((self.kind.value,)) + self.octets

    def __str__(self) -> str:
        """For logs: the name, `00003f:00000001`, `global`, or `unknown` with the octets."""
        match self.kind:
            case VssKind.NAME:
                return self.octets.decode()
            case VssKind.VPN_ID:
                return f"{self.octets[:3].hex()}:{self.octets[3:].hex()}"
            case VssKind.GLOBAL:
                return "global"
        return f"unknown {self.octets.hex()}".rstrip()


@dataclass(frozen=True, slots=True)
class RelayInformation:
    """What option 82 of one message says (RFC 3046); None and False for what it does not.

    `circuit_id` and `remote_id` are opaque octets (the former means something only together with giaddr);
    `link_selection` and `server_identifier_override` are addresses, host-order integers, None for 0.0.0.0 too;
    `source_port` says that the relay listens on the port it sent from.
    """

    circuit_id: bytes | None = None
    remote_id: bytes | None = None
    link_selection: int | None = None
    server_identifier_override: int | None = None
    source_port: bool = False
    vss: Vss | None = None
    vss_control: bool = False

    @classmethod
    def decode(cls, value: bytes) -> RelayInformation:
        """Read option 82's value.

        Raises MalformedMessage for an address (sub-options 5, 11) that is not of four octets: the server MUST allocate on
        the one's link and speak as the other (RFC 3527 section 3, RFC 5107 section 4), so without knowing it there is no
        right answer. Where sub-options don't fit the option, what is whole before the fault counts: no RFC has a server
        refuse that, and Kea reads it alike. Of several with one number the first counts.
        """
        found: dict[int, bytes] = {}
        for code, start, stop in _suboptions(value):
            found.setdefault(code, value[start + 2 : stop])
        vss = found.get(Suboption.VSS)
        return cls(
            found.get(Suboption.CIRCUIT_ID),
            found.get(Suboption.REMOTE_ID),
            _address(found, Suboption.LINK_SELECTION),
            _address(found, Suboption.SERVER_IDENTIFIER_OVERRIDE),
            Suboption.SOURCE_PORT in found,
            None if vss is None else Vss.decode(vss),
            Suboption.VSS_CONTROL in found,
        )


def without_suboptions(value: bytes, codes: Collection[int]) -> bytes:
    """Return option 82's value without the sub-options `codes`, and otherwise as it came."""
    kept: list[bytes] = []
    end = 0
    for code, start, stop in _suboptions(value):
        if code not in codes:
            kept.append(value[start:stop])
        end = stop
    return b"".join(kept) + value[end:]


def _suboptions(value: bytes) -> list[tuple[int, int, int]]:
    """Return number, start and end of each sub-option that fits; neither PAD nor END is defined (RFC 3046 section 2)."""
    places: list[tuple[int, int, int]] = []
    start = 0
    while start + 2 <= len(value):
        stop = start + 2 + value[start + 1]
        if stop > len(value):
            break
        places.append((value[start], start, stop))
        start = stop
    return places


def _address(found: dict[int, bytes], code: Suboption) -> int | None:
    value = found.get(code)
    if value is None:
        return None
    if len(value) != 4:
        raise MalformedMessage(f"option 82: sub-option {code} has {len(value)} octets, must have 4")
    return int.from_bytes(value, "big") or None
