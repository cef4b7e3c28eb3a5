// SPDX-License-Identifier: MPL-2.0
// What a high availability pair is configured for: the pools of a subnet that we add are one, or two where a partner
// serves half of the hosts.
#ifndef SUBNET_DELEG_POOLS_H
#define SUBNET_DELEG_POOLS_H

#include <cc/data.h>
#include <dhcpsrv/srv_config.h>

#include <cstddef>

namespace subnet_deleg {

/// The list `pools` of a subnet whose hosts may have the addresses of `range` ("10.0.1.2-10.0.1.254").
///
/// Where libdhcp_ha.so of this configuration balances load, each server of the pair gets a half of them, by the class
/// that Kea puts a server's hosts in: both allocate at the same moment, and would give the same address to two hosts.
isc::data::ElementPtr poolsOf(const isc::dhcp::SrvConfig& config, const std::string& range);

/// In how many such parts the addresses of a subnet are: a host gets one of its server's part, however many are left in
/// the other.
size_t partsOf(const isc::dhcp::SrvConfig& config);

/// Whether a pair of libdhcp_ha.so ends, for good, once one of it has refused leases of some hosts, as it does of a
/// subnet that it will have a moment later than the other.
bool endsWithRefusals(const isc::dhcp::SrvConfig& config);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_POOLS_H
