// SPDX-License-Identifier: MPL-2.0
#include "drop_class.h"

#include <asiolink/io_address.h>
#include <dhcp/dhcp4.h>
#include <dhcp/option_string.h>
#include <dhcp/pkt4.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/client_class_def.h>

#include <exception>

#include "compat/kea.h"

namespace subnet_deleg {

const char DropClass[] = "DROP";

namespace {

using isc::asiolink::IOAddress;
using isc::dhcp::ClientClassDictionary;
using isc::dhcp::OptionString;
using isc::dhcp::Pkt4;
using isc::dhcp::Pkt4Ptr;

/// The packet as Kea had it before it read the message.
Pkt4Ptr asReceived(const InboundPacket& packet, const std::string& interface) {
    const deleg_inbound& from = packet.description;
    Pkt4Ptr query(new Pkt4(packet.data.data(), packet.data.size()));
    query->setIface(interface);
    query->setIndex(from.interface);
    query->setRemoteAddr(IOAddress(from.source));
    query->setRemotePort(from.source_port);
    query->setLocalAddr(IOAddress(from.destination));
    query->setLocalPort(from.destination_port);
    return query;
}

/// Read the message. Where an option can't be read, what was read before it counts: the sender's hardware address does
/// at any rate, so that nobody gets round the class by an option out of order.
void read(Pkt4& query) {
    try {
        query.unpack();
    } catch (const std::exception&) {
    }
}

/// Dhcpv4Srv::classifyPacket of Kea's.
void classify(const Pkt4Ptr& query, const ClientClassDictionary& classes) {
    query->addClass("ALL");
    const auto vendor =
        boost::dynamic_pointer_cast<OptionString>(query->getOption(isc::dhcp::DHO_VENDOR_CLASS_IDENTIFIER));
    if (vendor) {
        query->addClass("VENDOR_CLASS_" + vendor->getValue());
    }
    for (const auto& one : *classes.getClasses()) {
        const auto& expression = one->getMatchExpr();
        if (!expression || compat::isOnRequest(*one, compat::First()) || one->getDependOnKnown()) {
            continue;
        }
        try {
            compat::evaluate(*one, query, expression, compat::First());
        } catch (const std::exception&) {
            // An expression that fails is not true, as for Kea.
        }
    }
}

}  // namespace

bool isToBeDropped(const InboundPacket& packet, const std::string& interface) noexcept {
    // Kea heeds no replies, and no class for clients is meant for what the servers say that we ask for space.
    if (packet.data.empty() || packet.data.front() == isc::dhcp::BOOTREPLY) {
        return false;
    }
    try {
        const auto classes = isc::dhcp::CfgMgr::instance().getCurrentCfg()->getClientClassDictionary();
        if (!classes->findClass(DropClass)) {
            return false;
        }
        const Pkt4Ptr query = asReceived(packet, interface);
        read(*query);
        classify(query, *classes);
        return query->inClass(DropClass);
    } catch (...) {
        return false;
    }
}

}  // namespace subnet_deleg
