// SPDX-License-Identifier: MPL-2.0
// The subnets that Python wants Kea to serve, as it said so last, and what follows for each at a given moment.
#ifndef SUBNET_DELEG_DESIRED_H
#define SUBNET_DELEG_DESIRED_H

#include <cc/data.h>
#include <util/triplet.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "clock.h"

namespace subnet_deleg {

/// Seconds before the block's own end at which the last lease of a host ends: what a timer and the main thread may be
/// late, and what an ACK is under way.
constexpr double Margin = 2.0;

using Lifetime = isc::util::Triplet<uint32_t>;

/// A subnet that is wanted.
struct Wanted {
    /// Subnet, pool, network, relay, routers: where one of these differs it is another subnet.
    isc::data::ConstElementPtr definition;
    std::string network;  ///< the shared network that it belongs to; empty: none, it has a relay of its own
    std::optional<uint32_t> lifetime;  ///< of a host's lease, seconds; absent: as the shared network or Kea has it
    std::optional<uint32_t> longest;   ///< and what no such lease is to exceed, whatever they have (RFC 6656 3.4)
    Moment end = Never;                ///< when the block's own lease ends
    bool open = true;                  ///< takes new hosts, and renews those it has
};

/// What a subnet grants at a moment.
struct Terms {
    bool open = true;
    Lifetime lifetime;       ///< unspecified: inherited
    Moment changes = Never;  ///< when to look again
    bool ends = false;       ///< closed because its end is near, not because it was asked for
};

struct Desired {
    std::vector<std::string> networks;   ///< those that have subnets of ours, or none yet
    std::map<uint32_t, Wanted> subnets;  ///< by subnet-id
    /// Blocks that the ledger has as reserved, or as a block of these networks, and that are not for us to serve, by
    /// subnet-id; absent: nobody has said.
    std::optional<std::set<uint32_t>> elsewhere;

    /// Whether the ledger is known not to have a block any more that was served before. Of a network that we look after
    /// no more nobody tells us.
    bool hasEnded(uint32_t id, const std::string& network) const;
};

/// Read a `serve` request.
/// @param asked the moment from which its seconds count
/// @param before what was desired until now: an end that differs by less than a second is the one it was
/// @throw isc::Exception where the request is not what it should be
Desired desiredBy(const isc::data::Element& request, Moment asked, const Desired& before);

/// What a subnet may grant now, so that no host's lease outlives the block's own, nor lasts longer than who leased us
/// the block would have it.
/// @param inherited the lifetime that Kea's configuration gives it
Terms termsOf(const Wanted& wanted, const Lifetime& inherited, Moment now);

bool sameLifetime(const Lifetime& one, const Lifetime& other);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_DESIRED_H
