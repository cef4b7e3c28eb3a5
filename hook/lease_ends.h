// SPDX-License-Identifier: MPL-2.0
// A second guard against hosts' leases beyond their block's own, or longer than who leased us the block would have
// them, for where a subnet's lifetime is not what Kea goes by: classes may have lifetimes of their own, and BOOTP
// clients get leases for ever. It costs a callout for each lease, so it is there only where the configuration has such
// a thing.
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
    struct Limit {
        Moment end = Never;             ///< of the block's own lease
        uint32_t longest = UINT32_MAX;  ///< seconds
    };
    using Limits = std::map<uint32_t, Limit>;

    /// By subnet-id; blocks that set none are left out. Main thread only.
    void set(Limits limits);

    /// Shorten a lease that would get beyond its block's limits. Any thread.
    void shorten(isc::dhcp::Lease4& lease);

  private:
    std::mutex mutex_;
    std::shared_ptr<const Limits> limits_;
};

/// The one instance.
LeaseEnds& leaseEnds();

/// Whether a configuration gives lifetimes by something else than subnets, networks and the global parameter.
bool hasOtherLifetimes(isc::dhcp::SrvConfig& config);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_LEASE_ENDS_H
