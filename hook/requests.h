// SPDX-License-Identifier: MPL-2.0
// What Python may ask of Kea's main thread, by the name of the operation ("op").
#ifndef SUBNET_DELEG_REQUESTS_H
#define SUBNET_DELEG_REQUESTS_H

#include <cc/data.h>

#include "clock.h"

namespace subnet_deleg {

/// Do what a request asks for. Main thread only.
/// @param request a map; kea_subnet_deleg/runtime/bridge.py says what may be in it
/// @param asked when it was asked: seconds in a request count from there
/// @throw isc::Exception where the request as a whole can't be done
isc::data::ConstElementPtr handleRequest(const isc::data::Element& request, Moment asked);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_REQUESTS_H
