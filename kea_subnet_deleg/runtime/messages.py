# SPDX-License-Identifier: MPL-2.0
"""What the Python side says in Kea's log: each identifier and what it means to an operator."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

MESSAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "SUBNET_DELEG_STARTED": "The worker and the timers run; delegation begins when the ledger answers.",
        "SUBNET_DELEG_STOPPED": "The worker and the timers have ended; Kea unloads the hook or is configured anew.",
        "SUBNET_DELEG_LEDGER_CONNECTED": "The ledger answers; messages about subnets are served from here on.",
        "SUBNET_DELEG_LEDGER_DOWN": "The ledger does not answer. Nothing about subnets is answered until it does (ordinary DHCP "
        "goes on); the next attempt is made after the time given. Nothing acknowledged so far is affected.",
        "SUBNET_DELEG_SERVER_ADDRESS": "This server speaks from a further address, now known to the other servers of its domain.",
        "SUBNET_DELEG_OFFERED": "A block is held for a client.",
        "SUBNET_DELEG_NOT_OFFERED": "The policy gives a client nothing for a request, for the reason given.",
        "SUBNET_DELEG_LEASED": "A client took an offer: the block is its own for the time given.",
        "SUBNET_DELEG_RENEWED": "A lease was renewed. 'To be given up': the client is told to use the block no further (flag d).",
        "SUBNET_DELEG_RENEWAL_REFUSED": "A renewal was refused; the client must stop using the block at once.",
        "SUBNET_DELEG_RELEASED": "A client gave blocks back. They are leased again when their quarantine is over.",
        "SUBNET_DELEG_NOT_SERVED": "A client's message is not served, for the reason given: it is not admitted, not authentic, "
        "asks too often, or no pool is for it.",
        "SUBNET_DELEG_SHORTAGE": "Nothing that fits was left for a client. The holders of the least used subnets are told to renew.",
        "SUBNET_DELEG_FORCERENEW": "A holder was told to renew a subnet at once.",
        "SUBNET_DELEG_SWEPT": "Time did its work: offers not taken are free, leases that ended are in quarantine, quarantines "
        "that ended are free.",
        "SUBNET_DELEG_EVENTS": "The partitions of the ledger's events: one was made ahead, or goes because its time is over.",
        "SUBNET_DELEG_MALFORMED": "A message with option 220 can't be read, or says what RFC 6656 forbids. It got no answer.",
        "SUBNET_DELEG_OPERATION_FAILED": "The ledger refused one message of a batch; the others were served. This points to a "
        "defect in the hook or to a ledger changed by hand.",
        "SUBNET_DELEG_AGENT_FAILED": "Obtaining space, or looking after networks, failed and is tried again each second; said once "
        "a minute.",
        "SUBNET_DELEG_UPSTREAM_UNREACHABLE": "An upstream can't be asked for space, for the reason given; said once.",
        "SUBNET_DELEG_OBTAINED": "An upstream leased a subnet to this domain, or has it as leased to it: it is used from now on.",
        "SUBNET_DELEG_NOTHING_OBTAINED": "Upstreams give nothing of what is wanted, for the reason given. They are asked again after "
        "4 s first and 64 s at most; this line comes again after five minutes.",
        "SUBNET_DELEG_ORIGIN_RENEWED": "An upstream renewed a lease. 'To be given up' (flag d): nothing more is assigned of it, and it "
        "goes back when nothing is in use.",
        "SUBNET_DELEG_ORIGIN_LOST": "An upstream refused to renew a lease. Nothing of the subnet is used any more, as of now.",
        "SUBNET_DELEG_UPSTREAM_SILENT": "No upstream renews a lease, though its T2 is over. When it ends, whatever uses it is "
        "withdrawn; said at T2, and once more when half of the rest is over.",
        "SUBNET_DELEG_GIVEN_BACK": "Nothing of a subnet was in use: it was released to its upstream.",
        "SUBNET_DELEG_OVERLAP": "An upstream leased what overlaps space that this domain has from elsewhere, or what no host can have, "
        "such as 240.0.0.0/4. It goes back at once.",
        "SUBNET_DELEG_UPSTREAM_NOT_AUTHENTIC": "What an upstream says is not heeded, since it is not signed by the key that "
        "the parameter 'upstreams' has for it, or it has none while all upstreams do; said once for each reason.",
        "SUBNET_DELEG_OFFER_IGNORED": "An upstream's offer is not taken, for the reason given.",
        "SUBNET_DELEG_FORCERENEW_REFUSED": "A FORCERENEW is not heeded: who sent it does not have the nonce that the upstream gave us.",
        "SUBNET_DELEG_NETWORK_GREW": "A block was added to a network, for the reason given; hosts get addresses of it at once.",
        "SUBNET_DELEG_NETWORK_REOPENED": "A block that drained is in use again: its network needs it.",
        "SUBNET_DELEG_NETWORK_DRAINS": "A block of a network gives no more addresses and renews none, for the reason given. Its hosts "
        "get another address at their next renewal.",
        "SUBNET_DELEG_NETWORK_WITHDRAWN": "A block is a network's no more. When its quarantine is over, it is free for others.",
        "SUBNET_DELEG_NETWORK_FULL": "A network needs blocks and gets none: nothing is free, or it has as many as it may (max-blocks). "
        "What is missing is asked of the upstreams, if there are any. Said once until that changes.",
        "SUBNET_DELEG_NETWORK_ENDING": "The lease of a network's block runs out and was not renewed. The network looks for another; "
        "hosts keep their addresses at most until the time given. See what the upstream says, or why it is silent.",
        "SUBNET_DELEG_NETWORK_STUCK": "A network does not grow: Kea does not serve one of its blocks, mostly since a subnet of its own "
        "configuration overlaps it; or Kea does not know the network. Tried again every five seconds.",
        "SUBNET_DELEG_TIMER_FAILED": "Work that is done from time to time failed and is tried again at its next turn; said once a "
        "minute.",
    }
)
