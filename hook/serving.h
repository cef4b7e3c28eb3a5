// SPDX-License-Identifier: MPL-2.0
// Whether Kea serves at all: an operator (dhcp-disable) or a partner of a high availability pair may have told it not
// to.
#ifndef SUBNET_DELEG_SERVING_H
#define SUBNET_DELEG_SERVING_H

#include <dhcpsrv/network_state.h>

namespace subnet_deleg {

/// Say where Kea notes it. It is not kept alive by this.
void followState(const isc::dhcp::NetworkStatePtr& state);

/// Whether Kea serves now. Any thread.
bool isServing();

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_SERVING_H
