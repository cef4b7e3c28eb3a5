// SPDX-License-Identifier: MPL-2.0
#ifndef SUBNET_DELEG_CLOCK_H
#define SUBNET_DELEG_CLOCK_H

#include <chrono>
#include <limits>

namespace subnet_deleg {

/// A moment by CLOCK_MONOTONIC, seconds.
using Moment = double;

constexpr Moment Never = std::numeric_limits<Moment>::infinity();

inline Moment now() {
    return std::chrono::duration<Moment>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_CLOCK_H
