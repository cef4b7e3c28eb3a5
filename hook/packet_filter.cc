// SPDX-License-Identifier: MPL-2.0
#include "packet_filter.h"

#include <dhcp/pkt_filter_inet.h>
#include <dhcp/pkt_filter_lpf.h>
#include <util/multi_threading_mgr.h>

#include <boost/make_shared.hpp>
#include <list>
#include <utility>

namespace subnet_deleg {
namespace {

using isc::dhcp::Iface;
using isc::dhcp::IfaceMgr;
using isc::dhcp::Pkt4Ptr;
using isc::dhcp::PktFilterInet;
using isc::dhcp::PktFilterLPF;
using isc::dhcp::PktFilterPtr;
using isc::dhcp::SocketInfo;

/// Kea's own way of reading and writing packets, but for those that are taken.
template <typename Kind>
class Taking : public Kind {
  public:
    explicit Taking(Taker take) : take_(take) {}

    Pkt4Ptr receive(Iface& interface, const SocketInfo& socket) override {
        Pkt4Ptr packet = Kind::receive(interface, socket);
        if (packet && take_(packet, interface)) {
            packet.reset();
        }
        return packet;
    }

  private:
    const Taker take_;
};

/// Kea changes its packet filter only while no socket is open, since each kind has its own sockets. One of the same
/// kind can go on with those that are there: they are out of Kea's sight while this lives.
class SocketsAside {
  public:
    SocketsAside() {
        for (const auto& interface : IfaceMgr::instance().getIfaces()) {
            aside_.emplace_back(&socketsOf(*interface), Iface::SocketCollection());
            aside_.back().first->swap(aside_.back().second);
        }
    }
    ~SocketsAside() {
        for (auto& [sockets, kept] : aside_) {
            sockets->swap(kept);
        }
    }
    SocketsAside(const SocketsAside&) = delete;
    SocketsAside& operator=(const SocketsAside&) = delete;

  private:
    static Iface::SocketCollection& socketsOf(const Iface& interface) {
        return const_cast<Iface::SocketCollection&>(interface.getSockets());  // there is no other way to them
    }

    std::list<std::pair<Iface::SocketCollection*, Iface::SocketCollection>> aside_;
};

PktFilterPtr ours;  // that we put in the place of Kea's

/// Whether Kea has our filter still: it makes one anew whenever it opens its sockets.
bool inPlace() {
    return ours && ours.use_count() > 1;
}

void put(const PktFilterPtr& filter) {
    const isc::util::MultiThreadingCriticalSection alone;  // Kea's threads send by it
    IfaceMgr& interfaces = IfaceMgr::instance();
    const bool reading = interfaces.isDHCPReceiverRunning();  // a thread that reads packets into a queue
    if (reading) {
        interfaces.stopDHCPReceiver();
    }
    {
        const SocketsAside aside;
        interfaces.setPacketFilter(filter);
    }
    if (reading) {
        interfaces.startDHCPReceiver(AF_INET);
    }
}

/// A filter of the kind that Kea has in use.
template <template <typename> class Filter, typename... Arguments>
PktFilterPtr alike(Arguments... arguments) {
    if (IfaceMgr::instance().isDirectResponseSupported()) {
        return boost::make_shared<Filter<PktFilterLPF>>(arguments...);
    }
    return boost::make_shared<Filter<PktFilterInet>>(arguments...);
}

template <typename Kind>
using Plain = Kind;

}  // namespace

void filterPackets(Taker take) {
    if (!inPlace()) {
        const PktFilterPtr filter = alike<Taking>(take);
        put(filter);
        ours = filter;
    }
}

void filterNoPackets() {
    if (inPlace()) {
        put(alike<Plain>());
    }
    ours.reset();
}

}  // namespace subnet_deleg
