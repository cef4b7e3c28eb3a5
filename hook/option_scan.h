// SPDX-License-Identifier: MPL-2.0
// The filter that every packet of Kea's passes: does this DHCPv4 message carry option 220 (Subnet Allocation, RFC
// 6656)?
#ifndef SUBNET_DELEG_OPTION_SCAN_H
#define SUBNET_DELEG_OPTION_SCAN_H

#include <cstddef>
#include <cstdint>

namespace subnet_deleg {

/// Look for option 220 in the wire bytes of a message: in the options field and, where option 52 says so, in `file` and
/// `sname` (option overload, RFC 2132 9.3). Reads bytes rather than Kea's unpacked options, because Kea knows no
/// overload, drops what is truncated, and has not unpacked anything when buffer4_receive is called.
///
/// An option 220 whose length runs over the end counts as carried, so that a damaged one is never taken for ordinary
/// DHCP. What follows another damaged option is not looked at, as Kea doesn't.
///
/// @param message the UDP payload
/// @param length of the message, bytes
bool carriesSubnetAllocation(const uint8_t* message, size_t length);

/// The value of option 53 (DHCP Message Type, RFC 2132 9.6) in the options field of a message, 0 where there is none.
uint8_t messageType(const uint8_t* message, size_t length);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_OPTION_SCAN_H
