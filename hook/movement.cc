// SPDX-License-Identifier: MPL-2.0
#include "movement.h"

#include <poll.h>
#include <stats/stats_mgr.h>
#include <util/multi_threading_mgr.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "bridge.h"

namespace subnet_deleg {

using isc::stats::StatsMgr;

Movement::Watched::Watched(isc::stats::ObservationPtr observed)
    : observation(std::move(observed)), value(observation->getInteger().first) {}

int64_t Movement::Watched::change() const {
    return std::abs(observation->getInteger().first - value);
}

int64_t Movement::addresses() const noexcept {
    const bool stale =
        packets_.load(std::memory_order_relaxed) && coarseNow() - looked_.load(std::memory_order_relaxed) > Stale;
    return stale || moved_.load(std::memory_order_relaxed) ? Unknown : addresses_.load(std::memory_order_relaxed);
}

void Movement::look() noexcept {
    // With threads, or with one that reads the sockets, Kea may be writing these statistics: then every packet counts.
    if (moved_.load(std::memory_order_relaxed) || std::this_thread::get_id() != main_.load(std::memory_order_relaxed) ||
        blind_ || isc::util::MultiThreadingMgr::instance().getMode()) {
        return;
    }
    // The packet at hand shows in the next look.
    looked_.store(coarseNow(), std::memory_order_relaxed);
    int64_t addresses = 0;
    for (const Watched& one : leases_) {
        addresses += one.change();
    }
    addresses_.store(addresses, std::memory_order_relaxed);
    if (std::any_of(failures_.begin(), failures_.end(), [](const Watched& one) { return one.change() != 0; })) {
        note();
    }
}

void Movement::watch(const std::string& name, std::vector<Watched>& where) {
    const auto observation = StatsMgr::instance().getObservation(name);
    blind_ |= !observation;
    if (observation) {
        where.emplace_back(observation);
    }
}

void Movement::rest(const std::vector<int>& descriptors, Moment timeout, int64_t tolerance) const {
    std::vector<pollfd> watched;
    watched.reserve(descriptors.size());
    for (const int descriptor : descriptors) {
        watched.push_back({descriptor, POLLIN, 0});
    }
    const Moment end = now() + timeout;
    for (Moment left = timeout;; left = end - now()) {
        const Moment wait = std::clamp(left, 0.0, RestInterval);
        const int ready = poll(watched.data(), watched.size(), static_cast<int>(std::ceil(wait * 1000)));
        if (ready != 0 || left <= RestInterval) {
            return;
        }
        if (tolerance >= 0) {
            const int64_t moved = addresses();
            if (moved == Unknown || moved > tolerance) {
                return;
            }
        }
    }
}

void Movement::begin() noexcept {
    main_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    looked_.store(coarseNow(), std::memory_order_relaxed);
    packets_.store(false, std::memory_order_relaxed);
    addresses_.store(0, std::memory_order_relaxed);
    moved_.store(false, std::memory_order_relaxed);
}

void Movement::watch(const std::vector<uint32_t>& ids) {
    leases_.clear();
    failures_.clear();
    blind_ = false;
    for (const uint32_t id : ids) {
        watch(StatsMgr::generateName("subnet", id, "assigned-addresses"), leases_);
        watch(StatsMgr::generateName("subnet", id, "declined-addresses"), leases_);
    }
    // Those of all subnets: a subnet's own are there only from its first failure on.
    watch("v4-allocation-fail-shared-network", failures_);
    watch("v4-allocation-fail-subnet", failures_);
}

}  // namespace subnet_deleg

int64_t deleg_moved() {
    return subnet_deleg::movement().addresses();
}

void deleg_rest(const int* descriptors, int count, double timeout, int64_t tolerance) {
    subnet_deleg::movement().rest({descriptors, descriptors + count}, timeout, tolerance);
}
