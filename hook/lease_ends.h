// SPDX-License-Identifier: MPL-2.0
// A second guard against hosts' leases beyond their block's own, for where a subnet's lifetime is not what Kea goes by:
// classes may have lifetimes of their own, and BOOTP clients get leases for ever. It costs a callout for each lease, so
// it is there only where the configuration has such a thing.
#ifndef SUBNET_DELEG_LEASE_ENDS_H
#define SUBNET_DELEG_LEASE_ENDS_H

#include <dhcpsrv/lease.h>
#include <dhcpsrv/srv_config.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "clock.h"

namespace subnet_deleg {

class LeaseEnds {
  public:
    using Ends = std::map<uint32_t, Moment>;

    /// When the blocks' own leases end, by subnet-id; those that don't are left out. Main thread only.
    void set(Ends ends);

    /// Shorten a lease that would get beyond its block's end. Any thread.
    void shorten(isc::dhcp::Lease4& lease);

  private:
    std::mutex mutex_;
    std::shared_ptr<const Ends> ends_;
};

/// The one instance.
LeaseEnds& leaseEnds();

/// Whether a configuration gives lifetimes by something else than subnets, networks and the global parameter.
bool hasOtherLifetimes(isc::dhcp::SrvConfig& config);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_LEASE_ENDS_H
