// SPDX-License-Identifier: MPL-2.0
// Kea's statistics of a subnet that comes or goes while Kea runs, and its leases: what Kea itself does for all subnets
// at once when it takes a configuration over, and which would cost a count of all leases there are.
#ifndef SUBNET_DELEG_SUBNET_STATISTICS_H
#define SUBNET_DELEG_SUBNET_STATISTICS_H

#include <dhcpsrv/lease.h>
#include <dhcpsrv/subnet.h>

#include <cstdint>
#include <map>
#include <vector>

#include "clock.h"

namespace subnet_deleg {

/// Leases of a subnet by state.
struct Leases {
    int64_t assigned = 0;  ///< declined ones among them, as Kea counts
    int64_t declined = 0;
};

/// Count the leases of some subnets in the lease database.
/// @return one entry for each that has any
/// @throw isc::Exception where the database does not answer
std::map<uint32_t, Leases> countLeases(const std::vector<uint32_t>& ids);

/// Make the statistics of a subnet that was added, from the leases that it has already.
void makeStatistics(const isc::dhcp::Subnet4& subnet);

/// Have Kea keep enough samples of a subnet's statistics to find its peaks, until they are looked at.
void keepSamples(uint32_t id);

/// Seconds until the last lease of a subnet ends, of declined addresses too; 0 where there is none.
/// @throw isc::Exception where the lease database does not answer
int64_t lastLeaseEnds(uint32_t id);

/// Find the leases of a subnet that was taken away which are to be deleted, so that its addresses are unused when its
/// block comes back.
/// @param ended whether nobody serves it any more: else none is
/// @throw isc::Exception where the lease database does not answer
isc::dhcp::Lease4Collection leasesToForget(uint32_t id, bool ended);

/// Delete leases, and take them out of the list, but none after some moment in an SQL database, and none while Kea has
/// many changes of names waiting for its DNS server.
/// @param ended as for `leasesToForget`: then the hosts' names are taken out of DNS, too
/// @return whether there is none left
/// @throw isc::Exception where the lease database does not answer
bool forgetLeases(isc::dhcp::Lease4Collection& leases, bool ended, Moment until);

/// Delete the statistics of a subnet that was taken away.
void forgetStatistics(uint32_t id);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_SUBNET_STATISTICS_H
