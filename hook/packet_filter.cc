// SPDX-License-Identifier: MPL-2.0
#include "packet_filter.h"

#include <dhcp/pkt_filter_inet.h>
#include <dhcp/pkt_filter_lpf.h>
#include <util/multi_threading_mgr.h>

#include <boost/make_shared.hpp>
#include <list>
#include <mutex>
#include <utility>

#include "hook_state.h"

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

/// Kea's thread that reads packets into a queue, if it has one, is stopped while this lives.
class ReceiverStopped {
  public:
    ReceiverStopped() : running_(IfaceMgr::instance().isDHCPReceiverRunning()) {
        if (running_) {
            IfaceMgr::instance().stopDHCPReceiver();
        }
    }
    ~ReceiverStopped() {
        if (running_) {
            IfaceMgr::instance().startDHCPReceiver(AF_INET);
        }
    }
    ReceiverStopped(const ReceiverStopped&) = delete;
    ReceiverStopped& operator=(const ReceiverStopped&) = delete;

  private:
    const bool running_;
};

/// The filter that we put in the place of Kea's, and what it asks. Written by the main thread alone.
std::mutex ours_mutex;
PktFilterPtr ours;
Taker taker = nullptr;

void remember(PktFilterPtr filter, Taker take) {
    std::lock_guard<std::mutex> lock(ours_mutex);
    ours = std::move(filter);
    taker = take;
}

/// Whether nobody but us has our filter any more.
bool isLost() {
    std::lock_guard<std::mutex> lock(ours_mutex);
    return ours && ours.use_count() == 1;
}

void put(const PktFilterPtr& filter) {
    const isc::util::MultiThreadingCriticalSection alone;  // Kea's threads send by it
    const ReceiverStopped stopped;
    const SocketsAside aside;
    IfaceMgr::instance().setPacketFilter(filter);
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
    const PktFilterPtr filter = alike<Taking>(take);
    put(filter);
    remember(filter, take);
}

void filterNoPackets() {
    const bool in_use = ours && !isLost();
    remember({}, nullptr);
    if (in_use) {
        put(alike<Plain>());
    }
}

void restoreFilter() {
    if (isLost()) {
        hook().main_thread.post([] {
            if (isLost()) {
                filterPackets(taker);
            }
        });
    }
}

}  // namespace subnet_deleg
