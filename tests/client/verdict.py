# SPDX-License-Identifier: MPL-2.0
"""Whether a server's reply is one that RFC 2131, 3046, 6656 and 6842 allow for the query it answers.

Every rule raises `Violation` with its source. Nothing here depends on what a server knows: only on the query and the
reply.
"""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address

from tests.client.codec import ZERO, Allocation, Block, Code, Message, Type, insist

BROADCAST = 0x8000  # RFC 2131 figure 2
SERVER_IDENTIFIER_OVERRIDE, VSS, VSS_CONTROL = 11, 151, 152  # sub-options of option 82: RFC 5107 4, RFC 6607 3.2, 3.3
LEGAL_SIZE = 576  # octets of an IP datagram that every client accepts (RFC 2131 2)
IP_AND_UDP = 28  # octets of headers before the message

ANSWERS = {Type.DISCOVER: {Type.OFFER}, Type.REQUEST: {Type.ACK, Type.NAK}}  # nothing answers a RELEASE


def judge(query: Message, reply: Message, size: int, source: tuple[IPv4Address, int]) -> None:
    """Raise `Violation` unless `reply`, a message of `size` octets from the address and port `source`, is in order."""
    insist(reply.type in ANSWERS.get(query.type, ()), "RFC 2131 3", f"{reply.type.name} in answer to {query.type.name}")
    _judge_header(query, reply)
    _judge_options(query, reply, size)
    insist(source[1] == 67, "RFC 2131 4.1", f"sent from port {source[1]}")
    override = relay_suboptions(query).get(SERVER_IDENTIFIER_OVERRIDE)
    expected, rule = (source[0], "RFC 2131 4.1") if override is None else (IPv4Address(override), "RFC 5107 4")
    insist(reply.server == expected, rule, f"server identifier {reply.server} in a reply from {source[0]}")
    if reply.instances(Code.SUBNET_ALLOCATION) or reply.type is not Type.NAK or is_renewal(query):
        _judge_allocation(query, reply, reply.allocation)


def is_listing(query: Message) -> bool:
    """Whether a DISCOVER asks what its client holds (RFC 6656 6.1)."""
    return query.type is Type.DISCOVER and any(request.information for request in query.allocation.requests)


def is_renewal(query: Message) -> bool:
    """Whether a REQUEST renews or rebinds: it names no server (RFC 2131 4.3.2)."""
    return query.type is Type.REQUEST and query.option(Code.SERVER_IDENTIFIER) is None


def _judge_header(query: Message, reply: Message) -> None:
    table = "RFC 2131 table 3"
    insist(reply.op == 2, table, f"op {reply.op}")
    insist((reply.htype, reply.chaddr) == (query.htype, query.chaddr), table, f"chaddr {reply.chaddr.hex()}")
    insist(reply.xid == query.xid, table, f"xid {reply.xid:#x} in answer to {query.xid:#x}")
    insist(reply.hops == 0 and reply.secs == 0, table, f"hops {reply.hops}, secs {reply.secs}")
    insist(reply.giaddr == query.giaddr, table, f"giaddr {reply.giaddr} for {query.giaddr}")
    insist(reply.yiaddr == ZERO, "RFC 6656 4.2", f"yiaddr {reply.yiaddr}")
    ciaddr = {ZERO, query.ciaddr} if reply.type is Type.ACK else {ZERO}
    insist(reply.ciaddr in ciaddr, table, f"ciaddr {reply.ciaddr} in {reply.type.name}")
    flags = query.flags | (BROADCAST if reply.type is Type.NAK and query.giaddr != ZERO else 0)
    insist(reply.flags == flags, "RFC 2131 4.3.2, table 3", f"flags {reply.flags:#06x}, not {flags:#06x}")


def _judge_options(query: Message, reply: Message, size: int) -> None:
    table = "RFC 2131 table 3"
    counts = {code: len(reply.instances(code)) for code, _ in reply.options}
    repeated = [
        c for c, n in counts.items() if n > 1 and c != Code.SUBNET_ALLOCATION and len(reply.option(c) or b"") < 256
    ]
    insist(not repeated, "RFC 3396 5", f"options {repeated} more than once")
    insist(counts.get(Code.SERVER_IDENTIFIER) == 1 and reply.server is not None, table, "no server identifier")
    forbidden = {Code.REQUESTED_ADDRESS, Code.PARAMETER_LIST, Code.MAXIMUM_SIZE} & set(counts)
    insist(not forbidden, table, f"options {sorted(forbidden)} in {reply.type.name}")
    for code, source in ((Code.CLIENT_IDENTIFIER, "RFC 6842 3"), (Code.VSS, "RFC 6607 7.3")):
        insist(reply.option(code) == query.option(code), source, f"option {code} not echoed: {reply.option(code)!r}")
    relayed, echo = query.option(Code.RELAY_INFORMATION), reply.option(Code.RELAY_INFORMATION)
    insist(echo == _echo(query), "RFC 3046 2.2, RFC 6607 7.2", f"option 82 {relayed!r} is echoed as {echo!r}")
    _judge_capability(query, reply)
    if Code.RELAY_INFORMATION in counts:
        insist(reply.options[-1][0] == Code.RELAY_INFORMATION, "RFC 3046 2.2", "option 82 is not the last option")
    maximum = query.option(Code.MAXIMUM_SIZE)
    limit = int.from_bytes(maximum, "big") if maximum else LEGAL_SIZE
    insist(size + IP_AND_UDP <= limit, "RFC 2131 2", f"a datagram of {size + IP_AND_UDP} octets, limit {limit}")
    _judge_times(reply)


def relay_suboptions(message: Message) -> dict[int, bytes]:
    """The sub-options of option 82 (RFC 3046 2), each once; none where there is no such option."""
    value, found = message.option(Code.RELAY_INFORMATION) or b"", {}
    while len(value) >= 2:
        found[value[0]] = value[2 : 2 + value[1]]
        value = value[2 + value[1] :]
    return found


def _echo(query: Message) -> bytes | None:
    """Option 82 as a server that heeds sub-option 151 echoes it: without 152, which says that nobody did (RFC 6607 7.2)."""
    value = query.option(Code.RELAY_INFORMATION)
    suboptions = relay_suboptions(query)
    if VSS not in suboptions or VSS_CONTROL not in suboptions:
        return value
    kept = {code: octets for code, octets in suboptions.items() if code != VSS_CONTROL}
    return b"".join(bytes((code, len(octets))) + octets for code, octets in kept.items())


def _judge_capability(query: Message, reply: Message) -> None:
    """A server speaks of authentication only to who did (RFC 3118 5.6, RFC 6704 3.1.3)."""
    capable = query.option(Code.FORCERENEW_NONCE_CAPABLE)
    offered = reply.option(Code.FORCERENEW_NONCE_CAPABLE)
    if offered is not None:
        fits = reply.type is Type.OFFER and capable is not None and offered in capable
        insist(fits, "RFC 6704 3.1.3", f"option 145 {offered.hex()} in {reply.type.name}")
    spoken = capable is not None or query.option(Code.AUTHENTICATION) is not None
    insist(spoken or reply.option(Code.AUTHENTICATION) is None, "RFC 6704 3.1.3", "option 90, which nobody asked for")


def judge_forcerenew(
    message: Message, source: tuple[IPv4Address, int], hardware: bytes, identifier: bytes | None
) -> None:
    """Raise `Violation` unless this is a FORCERENEW that RFC 3203 and RFC 6656 5.4 allow, but for its authentication."""
    insist(message.type is Type.FORCERENEW and message.op == 2, "RFC 3203 4", f"op {message.op}, {message.type.name}")
    insist(message.chaddr == hardware, "RFC 3203 4", f"chaddr {message.chaddr.hex()}")
    insist(message.yiaddr == ZERO, "RFC 6656 5.4", f"yiaddr {message.yiaddr}")
    insist(source[1] == 67 and message.server == source[0], "RFC 3203 2.2", f"{message.server} speaks from {source}")
    insist(message.option(Code.CLIENT_IDENTIFIER) == identifier, "RFC 6842 3", "another client identifier")
    allocation = message.allocation
    insist(bool(allocation.blocks), "RFC 6656 5.4", "names no subnet")
    insist(not allocation.requests and not allocation.names, "RFC 6656 5.4", f"more than subnets: {allocation}")
    for information in allocation.information:
        insist(
            not (information.client or information.server or information.undefined), "RFC 6656 3.2", f"{information}"
        )
    _judge_blocks(allocation.blocks)


def _judge_times(reply: Message) -> None:
    codes = (Code.RENEWAL_TIME, Code.REBINDING_TIME, Code.LEASE_TIME)
    values = [reply.option(code) for code in codes]
    if reply.type is Type.NAK:
        insist(values == [None] * 3, "RFC 2131 table 3", f"lease times {values} in a NAK")
        return
    insist(len(reply.instances(Code.LEASE_TIME)) == 1, "RFC 6656 4.2, 4.4", "not exactly one lease time")
    insist(all(len(value) == 4 for value in values if value is not None), "RFC 2132 9", f"times {values}")
    times = [int.from_bytes(value, "big") for value in values if value is not None]
    insist(times == sorted(times) and times[-1] > 0, "RFC 2131 4.4.5", f"T1, T2, lease {times}")


def _judge_allocation(query: Message, reply: Message, allocation: Allocation) -> None:
    insist(allocation.flags == 0, "RFC 6656 3", f"flags octet {allocation.flags:#04x}")
    insist(not allocation.requests, "RFC 6656 3.1, 4.2", "Subnet-Request in a reply")
    insist(not allocation.names, "RFC 6656 3.3", f"Subnet-Name from a server: {allocation.names}")
    insist(not allocation.unknown, "RFC 6656 3", f"undefined suboptions {allocation.unknown}")
    insist(len(allocation.lease_times) <= 1, "RFC 6656 3.4", f"Suggested-Lease-Time {allocation.lease_times}")
    insist(bool(allocation.blocks), "RFC 6656 4.2", "no Subnet-Information")
    for information in allocation.information:
        insist(information.undefined == 0, "RFC 6656 3.2", f"undefined flags {information.undefined:#04x}")
        insist(information.client == is_listing(query), "RFC 6656 4.2, 6.2", f"c flag {information.client}")
    early = any(information.server for information in allocation.information[:-1])
    insist(not early, "RFC 6656 4.4, 6.2", "s flag before the last Subnet-Information")
    _judge_blocks(allocation.blocks)
    if reply.type is Type.OFFER:
        _judge_offer(query, allocation.blocks)
    else:
        _judge_outcome(query, reply, allocation.blocks)


def _judge_blocks(blocks: tuple[Block, ...]) -> None:
    for block in blocks:
        insist(block.undefined == 0, "RFC 6656 3.2.1", f"undefined flags {block.undefined:#04x} in {block}")
        insist(not block.statistics, "RFC 6656 3.2.1", f"statistics from a server in {block}")
    networks = sorted(block.network for block in blocks)
    for one, other in itertools.pairwise(networks):
        insist(not one.overlaps(other), "RFC 6656 4.4", f"{one} and {other} in one reply")


def _judge_offer(query: Message, blocks: tuple[Block, ...]) -> None:
    if is_listing(query):
        return
    requests = query.allocation.requests
    insist(len(blocks) <= len(requests), "RFC 6656 3.1", f"{len(blocks)} blocks for {len(requests)} requests")
    insist(not any(block.deprecate for block in blocks), "RFC 6656 3.2.1", "d flag in the offer of a new subnet")
    asked = {request.hierarchical for request in requests}
    insist(all(block.hierarchical in asked for block in blocks), "RFC 6656 3.2.1", "h flag differs from the request")


def _judge_outcome(query: Message, reply: Message, blocks: tuple[Block, ...]) -> None:
    asked = {(block.network, block.hierarchical) for block in query.allocation.blocks}
    for block in blocks:
        named = (block.network, block.hierarchical) in asked
        insist(named, "RFC 6656 4.4, 5.2", f"{reply.type.name} of {block}, which was not asked for")
        allowed = reply.type is Type.ACK and is_renewal(query)
        insist(not block.deprecate or allowed, "RFC 6656 3.2.1", f"d flag outside the ACK of a renewal: {block}")
