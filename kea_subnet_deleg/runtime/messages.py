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
        "SUBNET_DELEG_MALFORMED": "A message with option 220 can't be read, or says what RFC 6656 forbids. It got no answer.",
        "SUBNET_DELEG_OPERATION_FAILED": "The ledger refused one message of a batch; the others were served. This points to a "
        "defect in the hook or to a ledger changed by hand.",
        "SUBNET_DELEG_TIMER_FAILED": "Work that is done from time to time failed and is tried again at its next turn.",
    }
)
