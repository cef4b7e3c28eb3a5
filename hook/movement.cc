// SPDX-License-Identifier: MPL-2.0
#include "movement.h"

#include <stats/stats_mgr.h>
#include <util/multi_threading_mgr.h>

#include <algorithm>
#include <ctime>

#include "bridge.h"

namespace subnet_deleg {

using isc::stats::StatsMgr;

Moment Movement::coarseNow() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return static_cast<Moment>(time.tv_sec) + 1e-9 * static_cast<Moment>(time.tv_nsec);
}

bool Movement::any() const noexcept {
    return moved_.load(std::memory_order_relaxed) ||
           (packets_.load(std::memory_order_relaxed) && coarseNow() - looked_.load(std::memory_order_relaxed) > Stale);
}

void Movement::look() noexcept {
    // With threads, or with one that reads the sockets, Kea may be writing these statistics: then every packet counts.
    if (moved_.load(std::memory_order_relaxed) || std::this_thread::get_id() != main_.load(std::memory_order_relaxed) ||
        isc::util::MultiThreadingMgr::instance().getMode()) {
        return;
    }
    // The packet at hand shows in the next look.
    looked_.store(coarseNow(), std::memory_order_relaxed);
    if (std::any_of(watched_.begin(), watched_.end(), [](const Watched& one) {
            return one.observation->getSize() != one.samples || one.observation->getInteger().first != one.value;
        })) {
        note();
    }
}

void Movement::watch(const std::string& name) {
    const auto observation = StatsMgr::instance().getObservation(name);
    blind_ |= !observation;
    if (observation) {
        watched_.push_back({observation, observation->getInteger().first, observation->getSize()});
    }
}

void Movement::begin() noexcept {
    main_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    looked_.store(coarseNow(), std::memory_order_relaxed);
    packets_.store(false, std::memory_order_relaxed);
    moved_.store(false, std::memory_order_relaxed);
}

void Movement::watch(const std::vector<uint32_t>& ids) {
    watched_.clear();
    blind_ = false;
    for (const uint32_t id : ids) {
        // Its samples show also what came and went in between.
        watch(StatsMgr::generateName("subnet", id, "assigned-addresses"));
        watch(StatsMgr::generateName("subnet", id, "declined-addresses"));
    }
    // Those of all subnets: a subnet's own are there only from its first failure on.
    watch("v4-allocation-fail-shared-network");
    watch("v4-allocation-fail-subnet");
}

Movement& movement() {
    static Movement* const instance = new Movement;
    return *instance;
}

}  // namespace subnet_deleg

int deleg_moved() {
    return subnet_deleg::movement().any() ? 1 : 0;
}
