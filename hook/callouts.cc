// SPDX-License-Identifier: MPL-2.0
// What Kea calls. Each function filters, copies, queues and returns; none takes Python's GIL but load, unload and the
// start, which run in Kea's main thread while it configures itself.
//
// Where a delegation packet is taken. Between buffer4_receive and pkt4_receive Kea drops packets that are ours:
// FORCERENEW and all that a server sends, a REQUEST that chose another server (which tells us to take our offer back),
// broadcasts on a link without a subnet, and packets in which another option can't be read. So pkt4_receive is too
// late. Where nobody else has a say in what Kea takes, the packet is taken before any callout, when it is read from its
// socket (packet_filter.h): each callout costs every packet of ordinary DHCP some thousand instructions before it has
// done anything.
//
// Where other hooks are loaded, or an operator has Kea ignore clients by the class DROP (parameter respect-drops), the
// packet is taken behind Kea's own checks, in pkt4_receive. To repeat those checks for the packets named above would
// mean to follow them through every version, and they depend on classes, subnets and options that are not known yet in
// buffer4_receive. So buffer4_receive, which is registered only then, puts a Parcel, a copy of the packet, into the
// context that Kea keeps per packet. pkt4_receive takes the packet and the parcel's duty is done; a packet that never
// gets there is destroyed by Kea, its parcel with it, and the destructor queues the copy. That catches exactly what
// would have been lost. One of Kea's checks it does repeat, where the configuration has a class DROP: whether the
// packet is in that (drop_class.h).
#include <asiolink/io_address.h>
#include <cc/command_interpreter.h>
#include <dhcp/dhcp4.h>
#include <dhcp/iface_mgr.h>
#include <dhcp/pkt4.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/lease.h>
#include <dhcpsrv/network_state.h>
#include <dhcpsrv/srv_config.h>
#include <hooks/hooks.h>
#include <hooks/hooks_manager.h>
#include <process/daemon.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "bridge.h"
#include "counters.h"
#include "drop_class.h"
#include "hook_state.h"
#include "lease_ends.h"
#include "messages.h"
#include "movement.h"
#include "option_scan.h"
#include "packet_filter.h"
#include "pools.h"
#include "service.h"
#include "serving.h"
#include "subnets.h"
#include "unserved.h"

namespace subnet_deleg {
namespace {

using isc::data::Element;
using isc::data::ElementPtr;
using isc::dhcp::Pkt4Ptr;
using isc::hooks::CalloutHandle;

const char ParcelName[] = "subnet-deleg";

void deliver(InboundPacket&& packet) noexcept {
    try {
        hook().main_thread.watch();  // there will be an answer to send
        const Pushed pushed = hook().queue.push(std::move(packet));
        if (pushed != Pushed::Closed) {
            count(pushed == Pushed::Queued ? Counter::Received : Counter::QueueFull);
        }
    } catch (const std::bad_alloc&) {
        count(Counter::QueueFull);
    }
}

/// A copy of a packet that is queued for Python once, at the latest when it is destroyed.
class Parcel {
  public:
    /// @param interface name of the one that the packet came in by
    Parcel(InboundPacket&& packet, std::string interface)
        : packet_(std::move(packet)), interface_(std::move(interface)) {}
    ~Parcel() {
        // Kea dropped the packet, be it before it had put it into classes.
        if (open_ && !isToBeDropped(packet_, interface_)) {
            deliver();
        }
    }
    Parcel(const Parcel&) = delete;
    Parcel& operator=(const Parcel&) = delete;

    void deliver() noexcept {
        if (open_) {
            open_ = false;
            subnet_deleg::deliver(std::move(packet_));
        }
    }

    /// Leave the packet to whoever wants to drop it.
    void discard() noexcept { open_ = false; }

  private:
    InboundPacket packet_;
    const std::string interface_;
    bool open_ = true;
};

using ParcelPtr = std::shared_ptr<Parcel>;

/// A NAK, which a server that refuses us may send without any option of ours. Kea itself heeds no replies.
bool isNak(const uint8_t* message, size_t length) {
    return length > 0 && message[0] == isc::dhcp::BOOTREPLY && messageType(message, length) == isc::dhcp::DHCPNAK;
}

bool isOurs(const Pkt4Ptr& query) {
    const uint8_t* message = query->data_.data();
    const size_t length = query->data_.size();
    // DHCPv4-over-DHCPv6 (RFC 7341) has no IPv4 address to answer to; subnets are not delegated over it.
    return (carriesSubnetAllocation(message, length) || isNak(message, length)) && !query->isDhcp4o6();
}

/// The address to answer from: the one that the packet was sent to if it is ours, else the first that Kea listens on,
/// on the interface.
uint32_t localAddress(const isc::dhcp::Pkt4& query, const isc::dhcp::Iface& interface) {
    uint32_t first = 0;
    for (const isc::dhcp::SocketInfo& socket : interface.getSockets()) {
        if (socket.addr_ == query.getLocalAddr()) {
            return socket.addr_.toUint32();
        }
        if (!first && socket.addr_.isV4()) {
            first = socket.addr_.toUint32();
        }
    }
    return first ? first : query.getLocalAddr().toUint32();
}

/// A copy of a packet. `interface`: that it came in by; null where it is gone.
InboundPacket copyOf(const isc::dhcp::Pkt4& query, const isc::dhcp::Iface* interface) {
    InboundPacket packet;
    packet.data.assign(query.data_.begin(), query.data_.end());
    packet.description.interface = query.getIndex();
    packet.description.source = query.getRemoteAddr().toUint32();
    packet.description.source_port = query.getRemotePort();
    packet.description.destination = query.getLocalAddr().toUint32();
    packet.description.destination_port = query.getLocalPort();
    packet.description.local_address = interface ? localAddress(query, *interface) : query.getLocalAddr().toUint32();
    packet.description.received =
        std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return packet;
}

ParcelPtr parcelOf(const Pkt4Ptr& query) {
    return std::make_shared<Parcel>(copyOf(*query, isc::dhcp::IfaceMgr::instance().getIface(query).get()),
                                    query->getIface());
}

/// The parcel that buffer4_receive made of this packet.
ParcelPtr parcelIn(CalloutHandle& handle, const Pkt4Ptr& query) {
    try {
        ParcelPtr parcel;
        handle.getContext(ParcelName, parcel);
        return parcel;
    } catch (const isc::hooks::NoSuchCalloutContext&) {
        return parcelOf(query);  // another hook put a packet of its own making in its place
    }
}

bool droppedAlready(const CalloutHandle& handle) {
    return handle.getStatus() == CalloutHandle::NEXT_STEP_DROP || handle.getStatus() == CalloutHandle::NEXT_STEP_SKIP;
}

ElementPtr statusReport() {
    ElementPtr counters = Element::createMap();
    for (size_t index = 0; index < CounterCount; ++index) {
        counters->set(counterName(index), Element::create(counter(index).load()));
    }
    ElementPtr queue = Element::createMap();
    queue->set("length", Element::create(static_cast<int64_t>(hook().queue.length())));
    queue->set("size", Element::create(static_cast<int64_t>(hook().queue.capacity())));
    ElementPtr report = Element::createMap();
    report->set("version", Element::create(std::string(SUBNET_DELEG_VERSION)));
    report->set("counters", counters);
    report->set("queue", queue);
    const auto service = hook().serviceStatus();
    report->set("service", service ? service : Element::createMap());
    return report;
}

int statusCommand(CalloutHandle& handle) {
    handle.setArgument("response", isc::config::createAnswer(isc::config::CONTROL_RESULT_SUCCESS, statusReport()));
    return 0;
}

int leasesCommitted(CalloutHandle& handle) {
    isc::dhcp::Lease4CollectionPtr leases;
    handle.getArgument("leases4", leases);
    if (leases) {
        // A DHCPDECLINE commits its lease too, as declined; lease4_decline counts that.
        const auto in_use = [](const isc::dhcp::Lease4Ptr& lease) {
            return lease->state_ == isc::dhcp::Lease::STATE_DEFAULT;
        };
        count(Counter::LeasesCommitted, std::count_if(leases->begin(), leases->end(), in_use));
    }
    return 0;
}

int shortenLease(CalloutHandle& handle) {
    isc::dhcp::Lease4Ptr lease;
    handle.getArgument("lease4", lease);
    if (lease) {
        leaseEnds().shorten(*lease);
    }
    return 0;
}

/// Whether packets are taken in pkt4_receive, behind Kea's checks. Set by load(), while no packet is under way.
bool behind_checks = false;

/// A Taker: before Kea's checks.
bool takeAsRead(const Pkt4Ptr& query, const isc::dhcp::Iface& interface) {
    if (!isOurs(query)) {
        movement().packet();
        if (unserved().any() && isServing()) {
            unserved().note(*query);
        }
        return false;
    }
    if (!isServing()) {
        return false;
    }
    deliver(copyOf(*query, &interface));
    return true;
}

/// Have packets taken before Kea's checks, where that is wanted. Main thread only.
void takePackets() {
    if (behind_checks) {
        return;
    }
    try {
        filterPackets(takeAsRead);
    } catch (const std::exception& error) {
        LOG_ERROR(logger, SUBNET_DELEG_MAIN_THREAD_FAILED).arg(error.what());
    }
}

/// Main thread only.
void leavePackets() {
    try {
        filterNoPackets();
    } catch (const std::exception& error) {
        LOG_ERROR(logger, SUBNET_DELEG_MAIN_THREAD_FAILED).arg(error.what());
    }
}

int sendParcel(CalloutHandle& handle) {
    Pkt4Ptr query;
    handle.getArgument("query4", query);
    if (handle.getStatus() == CalloutHandle::NEXT_STEP_DROP) {
        return 0;
    }
    if (isOurs(query)) {
        handle.setContext(ParcelName, parcelOf(query));
        return 0;
    }
    movement().packet();
    if (unserved().any()) {
        unserved().note(*query);
    }
    return 0;
}

int takeBehindChecks(CalloutHandle& handle) {
    Pkt4Ptr query;
    handle.getArgument("query4", query);
    if (!isOurs(query)) {
        return 0;
    }
    const ParcelPtr parcel = parcelIn(handle, query);
    // The class DROP is how an operator has Kea ignore a client; Kea looks at it after this callout.
    if (droppedAlready(handle) || query->inClass(DropClass)) {
        parcel->discard();
        return 0;
    }
    parcel->deliver();
    handle.setStatus(CalloutHandle::NEXT_STEP_DROP);
    return 0;
}

/// The value of a boolean parameter, or `otherwise` where it is not given.
bool flag(const isc::hooks::LibraryHandle& handle, const std::string& name, bool otherwise) {
    const auto parameters = const_cast<isc::hooks::LibraryHandle&>(handle).getParameters();
    const auto value = parameters && parameters->getType() == Element::map ? parameters->get(name) : nullptr;
    return value && value->getType() == Element::boolean ? value->boolValue() : otherwise;
}

/// Whether other hooks are loaded that may have a say in what Kea takes: not so the drivers of databases, which are
/// hooks since Kea 3.0.
bool othersHaveASay() {
    const std::vector<std::string> libraries = isc::hooks::HooksManager::getLibraryNames();
    const auto silent = [](const std::string& path) {
        const std::string name = path.substr(path.rfind('/') + 1);
        return name == "libdhcp_pgsql.so" || name == "libdhcp_mysql.so";
    };
    const auto drivers = std::count_if(libraries.begin(), libraries.end(), silent);
    return libraries.size() - static_cast<size_t>(drivers) > 1;
}

/// The callouts that are not Kea's standard ones because they are not always wanted. leases4_committed is called for
/// every packet that Kea answers, and has Kea prepare to park each: more than all else that the hook can cost ordinary
/// DHCP.
void registerOnDemand(isc::hooks::LibraryHandle& handle) {
    behind_checks = flag(handle, "respect-drops", othersHaveASay());
    if (behind_checks) {
        handle.registerCallout("buffer4_receive", sendParcel);
        handle.registerCallout("pkt4_receive", takeBehindChecks);
    }
    if (flag(handle, "count-leases", false)) {
        handle.registerCallout("leases4_committed", leasesCommitted);
    }
    const auto configuration = configurationInTheMaking();
    if (hasOtherLifetimes(configuration ? *configuration : *isc::dhcp::CfgMgr::instance().getCurrentCfg())) {
        handle.registerCallout("lease4_select", shortenLease);
        handle.registerCallout("lease4_renew", shortenLease);
    }
}

}  // namespace
}  // namespace subnet_deleg

using namespace subnet_deleg;

// All that Kea finds by name; the rest of the library is its own.
#pragma GCC visibility push(default)
extern "C" {

int version() {
    return KEA_HOOKS_VERSION;
}

int multi_threading_compatible() {
    return 1;
}

int load(isc::hooks::LibraryHandle& handle) {
    const std::string process = isc::process::Daemon::getProcName();
    if (process != "kea-dhcp4") {
        LOG_ERROR(logger, SUBNET_DELEG_WRONG_PROCESS).arg(process);
        return 1;
    }
    if (!configureService(handle.getParameters())) {
        return 1;
    }
    handle.registerCommandCallout("subnet-deleg-status", statusCommand);
    registerOnDemand(handle);
    hook().main_thread.post(
        takePackets);  // for where Kea loads hooks without configuring the server (libreload in 2.2)
    return 0;
}

int unload() {
    leavePackets();
    stopService();
    return 0;
}

int dhcp4_srv_configured(CalloutHandle& handle) {
    isc::dhcp::SrvConfigPtr configuration;
    handle.getArgument("server_config", configuration);
    isc::dhcp::NetworkStatePtr state;
    handle.getArgument("network_state", state);
    followState(state);
    prepareConfiguration(*configuration);
    if (!subnets().desired().networks.empty() && endsWithRefusals(*configuration)) {
        LOG_WARN(logger, SUBNET_DELEG_PAIR_MAY_END);
    }
    startService();
    takePackets();
    return 0;
}

int lease4_release(CalloutHandle&) {
    count(Counter::LeasesReleased);
    return 0;
}

int lease4_decline(CalloutHandle&) {
    count(Counter::LeasesDeclined);
    return 0;
}

int lease4_expire(CalloutHandle&) {
    count(Counter::LeasesExpired);
    movement().note();  // without a packet; of what is released, Kea 2.6 takes it off the statistics only here
    return 0;
}

int lease4_recover(CalloutHandle&) {
    count(Counter::LeasesRecovered);
    return 0;
}

}  // extern "C"
#pragma GCC visibility pop
