// SPDX-License-Identifier: MPL-2.0
// Whom an operator has Kea ignore: what is in the class DROP. Of a packet that Kea gave up before pkt4_receive nobody
// can tell any more which classes it was in, if it got so far at all; so its copy is put into classes as Kea does it.
#ifndef SUBNET_DELEG_DROP_CLASS_H
#define SUBNET_DELEG_DROP_CLASS_H

#include <string>

#include "inbound_queue.h"

namespace subnet_deleg {

/// The name that Kea knows it by.
extern const char DropClass[];

/// Whether a client's packet is in the class DROP, by what Kea itself has evaluated when it calls pkt4_receive: the
/// classes with an expression that is neither evaluated on request only nor depends on host reservations. False where
/// no such class is defined. Any thread that Kea's packets are served by.
/// @param interface name of the one that the packet came in by
bool isToBeDropped(const InboundPacket& packet, const std::string& interface) noexcept;

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_DROP_CLASS_H
