// SPDX-License-Identifier: MPL-2.0
// How much subnets of ours are used: from the statistics that Kea keeps anyway, so that a lease costs nothing more.
#ifndef SUBNET_DELEG_USAGE_H
#define SUBNET_DELEG_USAGE_H

#include <cc/data.h>

namespace subnet_deleg {

/// Figures of subnets, some of them since the last time (operation "usage"). Main thread only.
/// @throw isc::Exception where the request is not what it should be, or the lease database does not answer
isc::data::ConstElementPtr usage(const isc::data::Element& request);

/// By how much the statistics of subnets are off the leases that there are (operation "missed"). Main thread only.
/// @throw isc::Exception where the request is not what it should be, or the lease database does not answer
isc::data::ConstElementPtr missed(const isc::data::Element& request);

/// When the last lease of subnets ends (operation "ends"). Main thread only.
/// @throw isc::Exception where the request is not what it should be, or the lease database does not answer
isc::data::ConstElementPtr ends(const isc::data::Element& request);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_USAGE_H
