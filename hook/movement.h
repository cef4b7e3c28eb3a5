// SPDX-License-Identifier: MPL-2.0
// Whether there is anything to see in the usage of networks. To ask for it costs the main thread and Python work for
// every block; most of the time nothing has changed, and only hosts change anything at once.
#ifndef SUBNET_DELEG_MOVEMENT_H
#define SUBNET_DELEG_MOVEMENT_H

#include <stats/observation.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "clock.h"

namespace subnet_deleg {

class Movement {
  public:
    /// Note a packet of ordinary DHCP that Kea is about to have. Any thread; called for each.
    void packet() noexcept {
        if (!packets_.load(std::memory_order_relaxed)) {
            packets_.store(true, std::memory_order_relaxed);
        }
        // Of many packets a few ask the clock, some sixteen in an interval. Where threads lose count of one, another
        // will.
        const uint32_t count = count_.load(std::memory_order_relaxed) + 1;
        count_.store(count, std::memory_order_relaxed);
        if (count < next_.load(std::memory_order_relaxed)) {
            return;
        }
        if (coarseNow() - looked_.load(std::memory_order_relaxed) < LookInterval) {
            next_.store(count + step_.load(std::memory_order_relaxed), std::memory_order_relaxed);
            return;
        }
        const uint32_t step = count / 16;
        count_.store(0, std::memory_order_relaxed);
        step_.store(step, std::memory_order_relaxed);
        next_.store(step, std::memory_order_relaxed);
        look();
    }

    /// Note that something was counted which no statistic of Kea's shows. Any thread.
    void note() noexcept { moved_.store(true, std::memory_order_relaxed); }

    /// How many addresses were leased, given back or declined since `begin`, within the last half second not all of
    /// them; Unknown where more than that may have changed. Any thread.
    int64_t addresses() const noexcept;

    static constexpr int64_t Unknown = -1;

    /// Wait until a descriptor can be read, `timeout` seconds are over, or, looked at once in a RestInterval, more than
    /// `tolerance` addresses were leased, given back or declined, or that is Unknown; a tolerance below zero is any. A
    /// thread that rests here costs ordinary DHCP next to nothing, where one that wakes up in Python needs its caches.
    void rest(const std::vector<int>& descriptors, Moment timeout, int64_t tolerance) const;

    /// Begin anew. Main thread, before everything is read.
    void begin() noexcept;

    /// From now on look at the usage of these subnets, as it is. Main thread.
    void watch(const std::vector<uint32_t>& ids);

  private:
    /// A statistic, and what it was.
    struct Watched {
        explicit Watched(isc::stats::ObservationPtr observed);
        int64_t change() const;

        isc::stats::ObservationPtr observation;
        int64_t value;
    };

    static constexpr Moment RestInterval = 1.0;   // seconds
    static constexpr Moment LookInterval = 0.25;  // seconds between two looks while packets come
    static constexpr Moment Stale = 0.5;          // seconds after which a packet may have had an effect not looked at

    /// now() to within some milliseconds, for a tenth of the cost.
    static Moment coarseNow() noexcept {
        timespec time{};
        clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
        return static_cast<Moment>(time.tv_sec) + 1e-9 * static_cast<Moment>(time.tv_nsec);
    }
    void look() noexcept;
    void watch(const std::string& name, std::vector<Watched>& where);

    std::atomic<bool> packets_{true};  // some came since the last look
    std::atomic<uint32_t> count_{0};   // likewise: how many
    std::atomic<uint32_t> step_{0};    // after how many the clock is asked
    std::atomic<uint32_t> next_{0};    // at which it is asked next
    std::atomic<bool> moved_{true};
    std::atomic<int64_t> addresses_{0};
    std::atomic<Moment> looked_{0};
    std::vector<Watched> leases_, failures_;  // main thread only
    bool blind_ = true;                       // likewise: somebody removed a statistic; then every packet counts
    std::atomic<std::thread::id> main_{};
};

/// The one instance.
inline Movement& movement() {
    static Movement* const instance = new Movement;
    return *instance;
}

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_MOVEMENT_H
