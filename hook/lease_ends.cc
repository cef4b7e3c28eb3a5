// SPDX-License-Identifier: MPL-2.0
#include "lease_ends.h"

#include <dhcpsrv/client_class_def.h>
#include <hooks/hooks_manager.h>

#include <algorithm>
#include <string>
#include <utility>

#include "desired.h"

namespace subnet_deleg {

void LeaseEnds::set(Limits limits) {
    auto fresh = limits.empty() ? nullptr : std::make_shared<const Limits>(std::move(limits));
    std::lock_guard<std::mutex> lock(mutex_);
    limits_ = std::move(fresh);
}

void LeaseEnds::shorten(isc::dhcp::Lease4& lease) {
    std::shared_ptr<const Limits> limits;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        limits = limits_;
    }
    if (!limits) {
        return;
    }
    const auto limit = limits->find(lease.subnet_id_);
    if (limit == limits->end()) {
        return;
    }
    const double left = std::clamp(limit->second.end - now() - Margin, 1.0, double{UINT32_MAX});
    lease.valid_lft_ = std::min({lease.valid_lft_, static_cast<uint32_t>(left), limit->second.longest});
}

LeaseEnds& leaseEnds() {
    static LeaseEnds* const instance = new LeaseEnds;
    return *instance;
}

bool hasOtherLifetimes(isc::dhcp::SrvConfig& config) {
    const auto libraries = isc::hooks::HooksManager::getLibraryNames();
    const auto& classes = *config.getClientClassDictionary()->getClasses();
    // A configuration backend may bring classes at any time, and so may an operator by libdhcp_class_cmds.
    return config.getConfigControlInfo() ||
           std::any_of(libraries.begin(), libraries.end(),
                       [](const std::string& name) {
                           return name.find("libdhcp_bootp") != std::string::npos ||
                                  name.find("libdhcp_class_cmds") != std::string::npos;
                       }) ||
           std::any_of(classes.begin(), classes.end(), [](const auto& one) { return !one->getValid().unspecified(); });
}

}  // namespace subnet_deleg
