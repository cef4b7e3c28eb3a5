// SPDX-License-Identifier: MPL-2.0
#include "counters.h"

#include <array>

namespace subnet_deleg {
namespace {

constexpr std::array<const char*, CounterCount> Names = {
#define DELEG_COUNTER(enumerator, name) name,
#include "counters.def"
#undef DELEG_COUNTER
};

std::array<std::atomic<int64_t>, CounterCount> values{};

}  // namespace

const char* counterName(size_t index) {
    return index < CounterCount ? Names[index] : nullptr;
}

std::atomic<int64_t>& counter(size_t index) {
    return values.at(index);
}

}  // namespace subnet_deleg
