// SPDX-License-Identifier: MPL-2.0
// What Python may ask of Kea.
#ifndef SUBNET_DELEG_KEA_OPS_H
#define SUBNET_DELEG_KEA_OPS_H

#include <cstdint>
#include <vector>

#include "bridge.h"
#include "main_thread.h"

namespace subnet_deleg {

struct OutboundReply {
    std::vector<uint8_t> data;
    deleg_outbound description{};
};

/// Send one reply by the socket of its interface. Main thread only.
/// @throw isc::Exception where Kea has no such interface or socket, or the socket refuses
void transmit(const OutboundReply& reply);

/// Send all replies that wait. Main thread only. Those that fail are counted and logged.
void flushReplies();

/// Forget all replies that wait. Nothing is posted for one that comes while others wait, so none may wait for which
/// nothing is posted. Any thread.
void dropReplies();

/// Let Kea's select() not look for our posts while Python waits for packets in vain and has not asked for anything
/// lately: nothing is under way then that would be posted soon. With multi-threading on it looks all the time, because
/// there a packet of ours is taken by another thread while the main thread is in select() already.
void restWhenIdle();

/// Let Kea's select() not look for our posts while packets of ordinary DHCP come so often that each post is found
/// soon anyway. To be called now and then by who posts regularly. Main thread only.
void restWhenBusy();

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_KEA_OPS_H
