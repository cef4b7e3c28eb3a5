// SPDX-License-Identifier: MPL-2.0
// Where packets are looked at before Kea makes anything of them: in the object by which Kea reads its sockets.
//
// A callout for packets costs each packet of ordinary DHCP some 4000 instructions before it has done anything. Kea's
// interface manager reads its sockets by a "packet filter", one for raw sockets and one for UDP sockets, and lets it be
// replaced. Ours is of the same class, derived from it, and differs in what it hands on: a packet that is taken looks
// to Kea like nothing read. That costs a look at the bytes.
#ifndef SUBNET_DELEG_PACKET_FILTER_H
#define SUBNET_DELEG_PACKET_FILTER_H

#include <dhcp/iface_mgr.h>
#include <dhcp/pkt4.h>

namespace subnet_deleg {

/// Looks at a packet as it was read, with nothing unpacked. Returns whether it took it; Kea gets the others. Called by
/// whichever thread of Kea's reads the sockets, one at a time.
using Taker = bool (*)(const isc::dhcp::Pkt4Ptr& packet, const isc::dhcp::Iface& interface);

/// Have every packet looked at by `take`, from now on and until Kea opens its sockets for another configuration. Main
/// thread only; once more does no harm.
/// @throw isc::dhcp::PacketFilterChangeDenied if Kea won't have it
void filterPackets(Taker take);

/// Leave packets to Kea again. Main thread only.
void filterNoPackets();

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_PACKET_FILTER_H
