// SPDX-License-Identifier: MPL-2.0
#include "option_scan.h"

#include <cstring>

namespace subnet_deleg {
namespace {

constexpr uint8_t Pad = 0;
constexpr uint8_t End = 255;
constexpr uint8_t MessageType = 53;
constexpr uint8_t Overload = 52;
constexpr uint8_t SubnetAllocation = 220;

// The fixed part of a message, RFC 2131 2.
constexpr size_t SnameOffset = 44;
constexpr size_t FileOffset = 108;
constexpr size_t CookieOffset = 236;
constexpr size_t OptionsOffset = 240;

// The values of option 52, RFC 2132 9.3: bits.
constexpr uint8_t FileHoldsOptions = 1;
constexpr uint8_t SnameHoldsOptions = 2;

/// Walk the options between two addresses, noting the value of option 52 on the way.
bool fieldCarries(const uint8_t* at, const uint8_t* end, uint8_t& overload) {
    while (at < end) {
        const uint8_t code = *at++;
        if (code == Pad) {
            continue;
        }
        if (code == SubnetAllocation) {
            return true;
        }
        if (code == End || at == end) {
            return false;
        }
        const uint8_t length = *at++;
        if (length > end - at) {
            return false;
        }
        if (code == Overload && length == 1) {
            overload = *at;
        }
        at += length;
    }
    return false;
}

/// Whether a message is long enough for options and has the magic cookie before them, RFC 2131 3.
bool hasOptions(const uint8_t* message, size_t length) {
    return length > OptionsOffset && message[CookieOffset] == 99 && message[CookieOffset + 1] == 130 &&
           message[CookieOffset + 2] == 83 && message[CookieOffset + 3] == 99;
}

}  // namespace

bool carriesSubnetAllocation(const uint8_t* message, size_t length) {
    if (!hasOptions(message, length)) {
        return false;
    }
    // Most packets of ordinary DHCP have no such octet at all, and are done with here.
    if (!std::memchr(message + SnameOffset, SubnetAllocation, length - SnameOffset)) {
        return false;
    }
    uint8_t overload = 0;
    if (fieldCarries(message + OptionsOffset, message + length, overload)) {
        return true;
    }
    const uint8_t fields = overload;  // an option 52 inside the other fields has no meaning
    return ((fields & FileHoldsOptions) && fieldCarries(message + FileOffset, message + CookieOffset, overload)) ||
           ((fields & SnameHoldsOptions) && fieldCarries(message + SnameOffset, message + FileOffset, overload));
}

uint8_t messageType(const uint8_t* message, size_t length) {
    if (!hasOptions(message, length)) {
        return 0;
    }
    const uint8_t* at = message + OptionsOffset;
    const uint8_t* const end = message + length;
    while (at < end && *at != End) {
        const uint8_t code = *at++;
        if (code == Pad) {
            continue;
        }
        if (at == end || *at > end - at - 1) {
            return 0;
        }
        if (code == MessageType) {
            return *at == 1 ? at[1] : 0;
        }
        at += 1 + *at;
    }
    return 0;
}

}  // namespace subnet_deleg
