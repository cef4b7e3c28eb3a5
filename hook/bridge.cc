// SPDX-License-Identifier: MPL-2.0
// The functions of bridge.h that Python calls and that don't touch Kea (those are in kea_ops.cc), and the state behind
// them.
#include "bridge.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "counters.h"
#include "hook_state.h"
#include "kea_ops.h"

namespace subnet_deleg {

isc::data::ConstElementPtr Hook::serviceStatus() {
    std::lock_guard<std::mutex> lock(status_mutex_);
    return status_;
}

void Hook::setServiceStatus(isc::data::ConstElementPtr status) {
    std::lock_guard<std::mutex> lock(status_mutex_);
    status_ = std::move(status);
}

Hook& hook() {
    static Hook* const instance = new Hook;
    return *instance;
}

}  // namespace subnet_deleg

using namespace subnet_deleg;

namespace {
constexpr double IdleTimeout = 1.0;  // seconds without a packet, at the least, to speak of idleness
}  // namespace

int deleg_receive(uint32_t generation, deleg_inbound* packets, int limit, uint8_t* data, size_t size, double timeout) {
    std::vector<InboundPacket> taken;
    const std::chrono::duration<double> patience(std::clamp(timeout, 0.0, 3600.0));
    switch (hook().queue.take(generation, static_cast<size_t>(std::max(limit, 0)), size, patience, taken)) {
        case Taken::Over:
            return -1;
        case Taken::Timeout:
            // Not after a short look for more: the caller has packets in hand then.
            if (timeout >= IdleTimeout) {
                restWhenIdle();
            }
            return 0;
        case Taken::Packets:
            break;
    }
    uint32_t offset = 0;
    for (const InboundPacket& packet : taken) {
        *packets = packet.description;
        packets->offset = offset;
        packets->length = static_cast<uint32_t>(packet.data.size());
        std::copy(packet.data.begin(), packet.data.end(), data + offset);
        offset += packets->length;
        ++packets;
    }
    return static_cast<int>(taken.size());
}

const char* deleg_counter_name(int index) {
    return index < 0 ? nullptr : counterName(static_cast<size_t>(index));
}

void deleg_count(int counter, int64_t n) {
    if (deleg_counter_name(counter)) {
        subnet_deleg::counter(static_cast<size_t>(counter)).fetch_add(n, std::memory_order_relaxed);
    }
}

int deleg_publish_status(const char* json_text) {
    try {
        hook().setServiceStatus(isc::data::Element::fromJSON(json_text));
        return 0;
    } catch (const std::exception&) {
        return -1;
    }
}
