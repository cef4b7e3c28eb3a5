// SPDX-License-Identifier: MPL-2.0
#ifndef SUBNET_DELEG_COUNTERS_H
#define SUBNET_DELEG_COUNTERS_H

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace subnet_deleg {

enum class Counter : size_t {
#define DELEG_COUNTER(enumerator, name) enumerator,
#include "counters.def"
#undef DELEG_COUNTER
    End
};

constexpr size_t CounterCount = static_cast<size_t>(Counter::End);

/// The name of a counter, nullptr where `index` is none.
const char* counterName(size_t index);

/// Counts since the process started; a reload of the configuration does not reset them. Any thread may count.
std::atomic<int64_t>& counter(size_t index);

inline void count(Counter which, int64_t n = 1) {
    counter(static_cast<size_t>(which)).fetch_add(n, std::memory_order_relaxed);
}

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_COUNTERS_H
