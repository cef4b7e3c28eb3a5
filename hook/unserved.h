// SPDX-License-Identifier: MPL-2.0
// Hosts that ask for an address in a network that has no open subnet yet: Kea drops what they say, and counts nothing.
#ifndef SUBNET_DELEG_UNSERVED_H
#define SUBNET_DELEG_UNSERVED_H

#include <dhcp/pkt4.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace subnet_deleg {

class Unserved {
  public:
    /// A network without an open subnet, and by what a message is known to be from there; by neither: any may be.
    struct Network {
        std::string name;
        std::vector<uint32_t> relays;
        std::string interface;
    };

    /// Whether there is any such network. Asked for each packet of ordinary DHCP.
    bool any() const noexcept { return any_.load(std::memory_order_relaxed); }

    /// Count a packet for each network that it may be from, if it is a DISCOVER or REQUEST. Any thread.
    void note(const isc::dhcp::Pkt4& query);

    /// From now on these are the networks without an open subnet. What was counted stays counted.
    void watch(std::vector<Network> networks);

    /// What was counted since the last call.
    std::map<std::string, int64_t> take();

  private:
    std::atomic<bool> any_{false};
    std::mutex mutex_;
    std::vector<Network> networks_;
    std::map<std::string, int64_t> counted_;
};

/// The one instance.
inline Unserved& unserved() {
    static Unserved* const instance = new Unserved;
    return *instance;
}

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_UNSERVED_H
