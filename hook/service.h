// SPDX-License-Identifier: MPL-2.0
// The life of the Python service within Kea: configured in load, started in the main loop, stopped in unload.
#ifndef SUBNET_DELEG_SERVICE_H
#define SUBNET_DELEG_SERVICE_H

#include <cc/data.h>
#include <dhcpsrv/srv_config.h>

namespace subnet_deleg {

/// Start Python and have it check the parameters; what is wrong is logged. Main thread only.
/// @return whether they are good
bool configureService(const isc::data::ConstElementPtr& parameters);

/// The configuration that Kea is making, nothing while it makes none: Kea 2.2's libreload loads hooks by themselves.
isc::dhcp::SrvConfigPtr configurationInTheMaking();

/// Put the subnets that we serve into a configuration that Kea is about to take over. Main thread only.
void prepareConfiguration(isc::dhcp::SrvConfig& configuration);

/// Begin a generation of the service, once Kea's configuration is complete. Packets are kept from now on; Python starts
/// at the next turn of Kea's main loop, so that a mere check of the configuration (`kea-dhcp4 -T`) never starts it.
/// Main thread only.
void startService();

/// End the generation. Main thread only.
void stopService();

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_SERVICE_H
