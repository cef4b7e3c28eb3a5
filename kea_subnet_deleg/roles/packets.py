# SPDX-License-Identifier: MPL-2.0
"""Messages on their way in and out, as roles see them. Named tuples of integers and octets: this is the hot path."""

from __future__ import annotations

from typing import NamedTuple


class Inbound(NamedTuple):
    """One packet with option 220. Addresses are IPv4 as host-order integers.

    Attributes
    ----------
    data : bytes
        The whole DHCPv4 message exactly as it came off the wire.
    interface : int
        Index of the interface it came by.
    source, source_port, destination, destination_port : int
        Of the datagram; 255.255.255.255 where it was broadcast.
    local_address : int
        The server identifier to use and the address to answer from: the destination if the packet was unicast to us, else the
        first address that Kea listens on, on that interface.
    received : float
        When Kea handed it over, in seconds of `time.monotonic()`.
    """

    data: bytes
    interface: int
    source: int
    source_port: int
    destination: int
    destination_port: int
    local_address: int
    received: float


class Outbound(NamedTuple):
    """One reply. Addresses are IPv4 as host-order integers.

    Attributes
    ----------
    data : bytes
        The whole DHCPv4 message; it is sent as it is.
    interface : int
        Index of the interface to send by.
    source : int
        Our address; the port is 67.
    destination, destination_port : int
        Where to, 255.255.255.255 for a broadcast.
    hardware : bytes
        chaddr of the client, at most 16 octets, empty if it has none. Only a broadcast by a raw socket looks at it: the frame
        goes to this address alone, unless the client asks for broadcasts (RFC 2131 section 4.1).
    """

    data: bytes
    interface: int
    source: int
    destination: int
    destination_port: int
    hardware: bytes
