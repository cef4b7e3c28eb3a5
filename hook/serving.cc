// SPDX-License-Identifier: MPL-2.0
#include "serving.h"

#include <boost/weak_ptr.hpp>
#include <mutex>

#include "bridge.h"

namespace subnet_deleg {
namespace {

std::mutex mutex;
boost::weak_ptr<isc::dhcp::NetworkState>& followed = *new boost::weak_ptr<isc::dhcp::NetworkState>;  // never destroyed

}  // namespace

void followState(const isc::dhcp::NetworkStatePtr& state) {
    std::lock_guard<std::mutex> lock(mutex);
    followed = state;
}

bool isServing() {
    isc::dhcp::NetworkStatePtr state;
    {
        std::lock_guard<std::mutex> lock(mutex);
        state = followed.lock();
    }
    return !state || state->isServiceEnabled();
}

}  // namespace subnet_deleg

int deleg_serving() {
    return subnet_deleg::isServing() ? 1 : 0;
}
