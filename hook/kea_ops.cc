// SPDX-License-Identifier: MPL-2.0
#include "kea_ops.h"

#include <asiolink/io_address.h>
#include <dhcp/dhcp4.h>
#include <dhcp/iface_mgr.h>
#include <dhcp/pkt4.h>
#include <dhcp/pkt_filter_inet.h>
#include <dhcpsrv/cfgmgr.h>
#include <log/message_dictionary.h>
#include <stats/stats_mgr.h>
#include <util/multi_threading_mgr.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "clock.h"
#include "counters.h"
#include "hook_state.h"
#include "messages.h"

namespace subnet_deleg {
namespace {

using isc::asiolink::IOAddress;
using isc::dhcp::CfgIface;
using isc::dhcp::CfgMgr;
using isc::dhcp::IfaceMgr;
using isc::dhcp::Pkt4;
using isc::dhcp::Pkt4Ptr;

constexpr uint32_t Broadcast = 0xffffffff;
constexpr size_t FlagsOffset = 10;      // RFC 2131 2
constexpr uint8_t BroadcastBit = 0x80;  // of the first octet of flags
constexpr size_t EthernetLength = 6;

// Replies that wait for the main thread. Each answers a request that came through a bounded queue, so their number is
// bounded too as long as the main thread lives; the limit is for when it doesn't.
constexpr size_t MostWaiting = 65536;
std::mutex waiting_mutex;
std::vector<OutboundReply>& waiting = *new std::vector<OutboundReply>;  // never destroyed

constexpr double AskInterval = 10.0;  // seconds between two questions of who asks regularly, at most
constexpr double BusyRate = 20;       // packets/s: a post is found within some 50 ms
constexpr double RateInterval = 0.5;  // seconds, at least, to tell a rate from

/// Where the frame of a broadcast goes on a raw socket: to the client alone, as Kea's own replies do, which spares the
/// other hosts on the link; to everyone if the client asks for that (RFC 2131 4.1) or has no Ethernet address.
std::vector<uint8_t> frameAddress(const OutboundReply& reply) {
    const deleg_outbound& to = reply.description;
    if (to.hardware_length != EthernetLength || (reply.data[FlagsOffset] & BroadcastBit)) {
        return std::vector<uint8_t>(EthernetLength, 0xff);
    }
    return std::vector<uint8_t>(to.hardware, to.hardware + EthernetLength);
}

/// The interface that has an address of ours which Kea listens on.
int32_t interfaceWith(const IOAddress& address) {
    for (const auto& interface : IfaceMgr::instance().getIfaces()) {
        for (const isc::dhcp::SocketInfo& socket : interface->getSockets()) {
            if (socket.addr_ == address) {
                return static_cast<int32_t>(interface->getIndex());
            }
        }
    }
    isc_throw(isc::BadValue, "no interface has the address " << address.toText());
}

/// Whether unicasts go where the kernel's routes lead, whatever interface the request came by: "outbound-interface" is
/// "use-routing". Kea heeds that with UDP sockets alone.
bool areRouted() {
    const auto config = CfgMgr::instance().getCurrentCfg()->getCfgIface();
    return config->getSocketType() == CfgIface::SOCKET_UDP && config->getOutboundIface() == CfgIface::USE_ROUTING;
}

void transmitOrCount(const OutboundReply& reply) {
    try {
        transmit(reply);
    } catch (const std::exception& error) {
        count(Counter::SendFailed);
        LOG_DEBUG(logger, DebugLevel, SUBNET_DELEG_SEND_FAILED)
            .arg(IOAddress(reply.description.destination))
            .arg(reply.description.destination_port)
            .arg(reply.description.interface)
            .arg(error.what());
    }
}

}  // namespace

void transmit(const OutboundReply& reply) {
    static isc::dhcp::PktFilterInet udp;
    const deleg_outbound& to = reply.description;
    // The constructor for received packets takes any bytes that can be a message, and makes no options that we would
    // not send.
    Pkt4Ptr packet(new Pkt4(reply.data.data(), reply.data.size()));
    packet->getBuffer().writeData(reply.data.data(), reply.data.size());
    const IOAddress source(to.source);
    const bool routed = to.destination != Broadcast && areRouted();
    // With routes of all kinds a request may have come in by an interface that Kea has no socket on.
    packet->setIndex(to.interface && !routed ? to.interface : interfaceWith(source));
    packet->setLocalAddr(source);
    packet->setLocalPort(isc::dhcp::DHCP4_SERVER_PORT);
    packet->setRemoteAddr(IOAddress(to.destination));
    packet->setRemotePort(to.destination_port);

    IfaceMgr& interfaces = IfaceMgr::instance();
    const auto interface = interfaces.getIface(packet);
    if (!interface) {
        isc_throw(isc::BadValue, "no such interface");
    }
    packet->setIface(interface->getName());
    const isc::dhcp::SocketInfo socket = interfaces.getSocket(packet);
    if (routed) {  // as Kea's own replies to relays are; the kernel puts in the address of the interface that it takes
        packet->resetIndex();
        packet->setLocalAddr(IOAddress::IPV4_ZERO_ADDRESS());
    }
    if (socket.fallbackfd_ < 0) {  // a UDP socket
        interfaces.send(packet);
    } else if (to.destination == Broadcast) {
        packet->setRemoteHWAddr(isc::dhcp::HTYPE_ETHER, EthernetLength, frameAddress(reply));
        interfaces.send(packet);
    } else {
        // Beside a raw socket Kea keeps a UDP socket bound to the same address. A unicast of ours goes to a host that
        // has the address already, be it beyond a router: of the ways by this interface the kernel knows the right one,
        // while a frame of ours would need the router's address.
        udp.send(*interface, socket.fallbackfd_, packet);
    }
}

void flushReplies() {
    std::vector<OutboundReply> replies;
    {
        std::lock_guard<std::mutex> lock(waiting_mutex);
        replies.swap(waiting);
    }
    for (const OutboundReply& reply : replies) {
        transmitOrCount(reply);
    }
}

void dropReplies() {
    std::lock_guard<std::mutex> lock(waiting_mutex);
    waiting.clear();
}

void restWhenIdle() {
    // While Python asks regularly, an idle server has to hear it at once; a busy one hears it anyway (restWhenBusy).
    if (isc::util::MultiThreadingMgr::instance().getMode() || !hook().main_thread.watched() ||
        now() - hook().asks.last() < AskInterval) {
        return;
    }
    const uint64_t before = hook().queue.pushes();
    hook().main_thread.post([before] {
        // In the thread that pushes: none can come between the question and what follows from it.
        if (hook().queue.pushes() == before) {
            hook().main_thread.unwatch();
        }
    });
}

void restWhenBusy() {
    struct Look {
        Moment when = 0;
        int64_t packets = 0;
        uint64_t pushes = 0;
    };
    static Look last;
    static bool busy = false;
    if (isc::util::MultiThreadingMgr::instance().getMode()) {
        return;
    }
    const uint64_t pushes = hook().queue.pushes();
    if (now() - last.when >= RateInterval) {
        const auto received = isc::stats::StatsMgr::instance().getObservation("pkt4-received");
        const Look look{now(), received ? received->getInteger().first : 0, pushes};
        busy = look.pushes == last.pushes && look.packets - last.packets > BusyRate * (look.when - last.when);
        last = look;
    }
    if (busy && pushes == last.pushes) {
        hook().main_thread.unwatch();
    }
}

}  // namespace subnet_deleg

namespace {

using namespace subnet_deleg;

// Guarded by mayLog().
std::set<std::string>& identifiers_known = *new std::set<std::string>{
#define DELEG_MESSAGE(identifier, text, explanation) #identifier,
#include "messages.def"
#undef DELEG_MESSAGE
};

/// The identifier as Kea knows it; where it doesn't, that of unregistered messages, with the identifier put into the
/// text.
const char* knownIdentifier(const char* identifier, std::string& text) {
    if (identifiers_known.count(identifier)) {
        return identifier;
    }
    text = std::string(identifier) + " " + text;
    return SUBNET_DELEG_PYTHON;
}

}  // namespace

int deleg_send(const deleg_outbound* replies, int count, const uint8_t* data, size_t size) {
    int taken = 0;
    bool first = false;
    {
        std::lock_guard<std::mutex> lock(waiting_mutex);
        first = waiting.empty();
        for (int i = 0; i < count; ++i) {
            const deleg_outbound& reply = replies[i];
            const bool inside = reply.offset <= size && reply.length <= size - reply.offset &&
                                reply.length >= Pkt4::DHCPV4_PKT_HDR_LEN &&
                                reply.hardware_length <= sizeof(reply.hardware);
            if (inside && waiting.size() < MostWaiting) {
                const uint8_t* begin = data + reply.offset;
                waiting.push_back({std::vector<uint8_t>(begin, begin + reply.length), reply});
                ++taken;
            }
        }
    }
    subnet_deleg::count(Counter::SendFailed, count - taken);
    if (first && taken > 0 && !hook().main_thread.post(flushReplies)) {
        dropReplies();  // the hook is unloaded; the clients will retransmit
    }
    return taken;
}

void deleg_log(int severity, const char* identifier, const char* text) {
    const auto allowed = mayLog();
    if (!allowed) {
        return;
    }
    std::string message(text);
    const char* known = knownIdentifier(identifier, message);
    switch (severity) {
        case 0:
            LOG_DEBUG(logger, DebugLevel, known).arg(message);
            break;
        case 1:
            LOG_INFO(logger, known).arg(message);
            break;
        case 2:
            LOG_WARN(logger, known).arg(message);
            break;
        case 3:
            LOG_ERROR(logger, known).arg(message);
            break;
        default:
            LOG_FATAL(logger, known).arg(message);
            break;
    }
}

int deleg_log_enabled(int severity) {
    const auto allowed = mayLog();
    if (!allowed) {
        return 0;
    }
    switch (severity) {
        case 0:
            return logger.isDebugEnabled(DebugLevel) ? 1 : 0;
        case 1:
            return logger.isInfoEnabled() ? 1 : 0;
        case 2:
            return logger.isWarnEnabled() ? 1 : 0;
        default:
            return 1;
    }
}

void deleg_register_messages(const char* const* identifiers, int count) {
    const auto allowed = mayLog();
    if (!allowed || std::all_of(identifiers, identifiers + count,
                                [](const char* one) { return identifiers_known.count(one) != 0; })) {
        return;  // a reload: Kea's packet threads need not be stopped
    }
    // Kea's threads look messages up in the dictionary without a lock.
    isc::util::MultiThreadingCriticalSection alone;
    for (int i = 0; i < count; ++i) {
        isc::log::MessageDictionary::globalDictionary()->add(std::string(identifiers[i]), "%1");
        identifiers_known.insert(identifiers[i]);
    }
}
