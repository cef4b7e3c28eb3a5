# SPDX-License-Identifier: MPL-2.0
"""The wire: DHCPv4 messages and option 220, Subnet Allocation (RFC 6656), as octets and as values.

Pure: no I/O, no clock, the standard library only, and nothing else of this project.
"""

from kea_subnet_deleg.wire.authentication import (
    HMAC_MD5,
    Authentication,
    AuthenticationKind,
    UnusableAuthentication,
    sign,
    verify,
)
from kea_subnet_deleg.wire.forcerenew import forcerenew, forcerenew_destination
from kea_subnet_deleg.wire.message import (
    BOOTREPLY,
    BOOTREQUEST,
    BROADCAST_FLAG,
    Message,
    MessageType,
    encode_message,
)
from kea_subnet_deleg.wire.options import MalformedMessage, Option
from kea_subnet_deleg.wire.relay import RelayInformation, Vss, VssKind
from kea_subnet_deleg.wire.reply import (
    BROADCAST_ADDRESS,
    CLIENT_PORT,
    SERVER_PORT,
    VssUse,
    allocation_room,
    destination,
    reply,
)
from kea_subnet_deleg.wire.request import Requester, discover, gather, release, renewals_that_fit, request
from kea_subnet_deleg.wire.subnet_allocation import (
    LONGEST_PREFIX,
    MalformedOption,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    SubnetRequest,
    Usage,
    encode_block,
)

__all__ = [
    "BOOTREPLY",
    "BOOTREQUEST",
    "BROADCAST_ADDRESS",
    "BROADCAST_FLAG",
    "CLIENT_PORT",
    "HMAC_MD5",
    "LONGEST_PREFIX",
    "SERVER_PORT",
    "Authentication",
    "AuthenticationKind",
    "MalformedMessage",
    "MalformedOption",
    "Message",
    "MessageType",
    "Option",
    "RelayInformation",
    "Requester",
    "SubnetAllocation",
    "SubnetBlock",
    "SubnetInformation",
    "SubnetRequest",
    "UnusableAuthentication",
    "Usage",
    "Vss",
    "VssKind",
    "VssUse",
    "allocation_room",
    "destination",
    "discover",
    "encode_block",
    "encode_message",
    "forcerenew",
    "forcerenew_destination",
    "gather",
    "release",
    "renewals_that_fit",
    "reply",
    "request",
    "sign",
    "verify",
]
