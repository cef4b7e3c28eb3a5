// SPDX-License-Identifier: MPL-2.0
// One subnet in Kea's configuration: made, added, shut, taken away again. Main thread only, and while no packet is
// under way.
//
// Subnets of ours are known by a mark in their user context, which is part of the configuration: so they are told from
// an operator's even after config-get and config-set, or config-write and a restart, have made them part of a file.
#ifndef SUBNET_DELEG_KEA_SUBNETS_H
#define SUBNET_DELEG_KEA_SUBNETS_H

#include <dhcpsrv/srv_config.h>

#include <cstdint>
#include <map>

#include "desired.h"

namespace subnet_deleg {

using SubnetsById = std::map<uint32_t, isc::dhcp::Subnet4Ptr>;

/// The subnets of ours in a configuration.
SubnetsById ownSubnets(isc::dhcp::SrvConfig& config);

/// What a subnet of ours was made from.
isc::data::ConstElementPtr definitionOf(const isc::dhcp::Subnet4& subnet);

/// Whether a subnet of ours is where its definition says.
bool isInPlace(const isc::dhcp::Subnet4& subnet, const Wanted& wanted);

/// Make a subnet, which belongs to no configuration yet.
/// @param config the configuration that it is to belong to; nothing of it is changed
/// @throw isc::Exception, saying why it can't be served: Kea does not parse it, it overlaps another subnet, there is no
/// such shared network
isc::dhcp::Subnet4Ptr makeSubnet(isc::dhcp::SrvConfig& config, uint32_t id, const Wanted& wanted);

void addSubnet(isc::dhcp::SrvConfig& config, const isc::dhcp::Subnet4Ptr& subnet, const Wanted& wanted);
void removeSubnet(isc::dhcp::SrvConfig& config, const isc::dhcp::Subnet4& subnet);

/// A shared network, nothing where the configuration has none of that name.
isc::dhcp::SharedNetwork4Ptr networkOf(isc::dhcp::SrvConfig& config, const std::string& name);

/// The lifetime of hosts' leases that a subnet inherits.
Lifetime inheritedLifetime(isc::dhcp::SrvConfig& config, const Wanted& wanted);

bool isOpen(const isc::dhcp::Subnet4& subnet);
bool grants(const isc::dhcp::Subnet4& subnet, const Terms& terms);
void grant(isc::dhcp::Subnet4& subnet, const Terms& terms);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_KEA_SUBNETS_H
