// SPDX-License-Identifier: MPL-2.0
#include "unserved.h"

#include <dhcp/dhcp4.h>

#include <algorithm>
#include <utility>

#include "hook_state.h"
#include "movement.h"
#include "option_scan.h"

namespace subnet_deleg {
namespace {

constexpr size_t GiaddrOffset = 24;  // RFC 2131 2

uint32_t giaddrOf(const isc::dhcp::Pkt4& query) {
    uint32_t giaddr = 0;
    for (size_t i = GiaddrOffset; i < GiaddrOffset + sizeof(giaddr); ++i) {
        giaddr = giaddr << 8 | query.data_[i];
    }
    return giaddr;
}

bool mayBeFrom(const Unserved::Network& network, uint32_t giaddr, const std::string& interface) {
    if (network.relays.empty() && network.interface.empty()) {
        return true;
    }
    return giaddr != 0 ? std::find(network.relays.begin(), network.relays.end(), giaddr) != network.relays.end()
                       : network.interface == interface;
}

}  // namespace

void Unserved::note(const isc::dhcp::Pkt4& query) {
    const uint8_t type = messageType(query.data_.data(), query.data_.size());
    if (type != isc::dhcp::DHCPDISCOVER && type != isc::dhcp::DHCPREQUEST) {
        return;
    }
    const uint32_t giaddr = giaddrOf(query);
    bool counted = false;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        for (const Network& network : networks_) {
            if (mayBeFrom(network, giaddr, query.getIface())) {
                ++counted_[network.name];
                counted = true;
            }
        }
    }
    if (counted) {
        movement().note();
        hook().main_thread.watch();  // Python will ask, and change something
    }
}

void Unserved::watch(std::vector<Network> networks) {
    std::lock_guard<std::mutex> lock(mutex_);
    networks_ = std::move(networks);
    any_ = !networks_.empty();
}

std::map<std::string, int64_t> Unserved::take() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(counted_, {});
}

}  // namespace subnet_deleg
