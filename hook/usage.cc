// SPDX-License-Identifier: MPL-2.0
#include "usage.h"

#include <dhcpsrv/cfg_subnets4.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/shared_network.h>
#include <exceptions/exceptions.h>
#include <stats/stats_mgr.h>
#include <util/multi_threading_mgr.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kea_subnets.h"
#include "movement.h"
#include "pools.h"
#include "subnet_statistics.h"
#include "subnets.h"
#include "unserved.h"

namespace subnet_deleg {
namespace {

using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;
using isc::stats::ObservationPtr;
using isc::stats::StatsMgr;

/// Failed allocations that were told already, by subnet-id; of the subnets that were asked for last. Kea's own counters
/// are the operator's, and stay as they are.
using Failures = std::map<uint32_t, int64_t>;
Failures told_failures;

ObservationPtr observed(uint32_t id, const char* what) {
    return StatsMgr::instance().getObservation(StatsMgr::generateName("subnet", id, what));
}

int64_t valueOf(uint32_t id, const char* what) {
    const ObservationPtr observation = observed(id, what);
    return observation ? observation->getInteger().first : 0;
}

/// The most leases at once since the samples were looked at last, which are forgotten but for the newest.
int64_t takePeak(uint32_t id) {
    const ObservationPtr observation = observed(id, "assigned-addresses");
    if (!observation) {
        return 0;
    }
    int64_t peak = 0;
    for (const auto& sample : observation->getIntegers()) {
        peak = std::max(peak, sample.first);
    }
    observation->setMaxSampleCount(1);
    keepSamples(id);
    return peak;
}

/// Failed allocations since the last time: Kea counts each for one subnet, and there as one of these two.
/// @param telling gets what will have been told then
int64_t takeFailures(uint32_t id, Failures& telling) {
    const int64_t failures =
        valueOf(id, "v4-allocation-fail-shared-network") + valueOf(id, "v4-allocation-fail-subnet");
    telling[id] = failures;
    const auto told = told_failures.find(id);
    // A reload may have counted from zero again.
    return told == told_failures.end() || failures < told->second ? failures : failures - told->second;
}

std::vector<uint32_t> subnetIds(const Element& request) {
    std::vector<uint32_t> ids;
    if (const auto list = request.get("ids")) {
        for (const auto& id : list->listValue()) {
            ids.push_back(static_cast<uint32_t>(id->intValue()));
        }
    }
    return ids;
}

/// What hosts were not served in each network: before it had an open subnet, or by a subnet of an operator's in it,
/// whose ids are added to `ids`.
ElementPtr takeUnserved(std::vector<uint32_t>& ids, Failures& telling) {
    std::map<std::string, int64_t> unserved = subnet_deleg::unserved().take();
    const auto config = isc::dhcp::CfgMgr::instance().getCurrentCfg();
    for (const std::string& name : subnets().desired().networks) {
        if (const auto network = networkOf(*config, name)) {
            for (const auto& subnet : *network->getAllSubnets()) {
                if (!definitionOf(*subnet)) {
                    unserved[name] += takeFailures(subnet->getID(), telling);
                    ids.push_back(subnet->getID());
                }
            }
        }
    }
    ElementPtr answer = Element::createMap();
    for (const auto& [name, count] : unserved) {
        if (count > 0) {
            answer->set(name, Element::create(count));
        }
    }
    return answer;
}

}  // namespace

ConstElementPtr missed(const Element& request) {
    const std::vector<uint32_t> ids = subnetIds(request);
    // In memory the two are of one moment. Nobody is to wait for another database, where others change it anyway.
    std::optional<isc::util::MultiThreadingCriticalSection> alone;
    if (isc::dhcp::LeaseMgrFactory::instance().getType() == "memfile") {
        alone.emplace();
    }
    std::map<uint32_t, Leases> counted = countLeases(ids);
    if (!alone) {
        alone.emplace();  // Kea's threads write the statistics, which are read without a lock
    }
    ElementPtr by_id = Element::createMap();
    for (const uint32_t id : ids) {
        ElementPtr one = Element::createMap();
        one->set("assigned", Element::create(counted[id].assigned - valueOf(id, "assigned-addresses")));
        one->set("declined", Element::create(counted[id].declined - valueOf(id, "declined-addresses")));
        by_id->set(std::to_string(id), one);
    }
    ElementPtr answer = Element::createMap();
    answer->set("subnets", by_id);
    return answer;
}

ConstElementPtr ends(const Element& request) {
    ElementPtr by_id = Element::createMap();
    for (const uint32_t id : subnetIds(request)) {
        by_id->set(std::to_string(id), Element::create(lastLeaseEnds(id)));
    }
    ElementPtr answer = Element::createMap();
    answer->set("subnets", by_id);
    return answer;
}

ConstElementPtr usage(const Element& request) {
    movement().begin();
    std::vector<uint32_t> ids = subnetIds(request);
    Failures telling;
    ElementPtr by_id = Element::createMap();
    const isc::util::MultiThreadingCriticalSection alone;  // samples are kept without a lock
    for (const uint32_t id : ids) {
        const int64_t assigned = valueOf(id, "assigned-addresses");
        ElementPtr one = Element::createMap();
        one->set("assigned", Element::create(assigned));
        one->set("declined", Element::create(valueOf(id, "declined-addresses")));
        one->set("peak", Element::create(std::max(takePeak(id), assigned)));
        one->set("failures", Element::create(takeFailures(id, telling)));
        by_id->set(std::to_string(id), one);
    }
    ElementPtr answer = Element::createMap();
    answer->set("subnets", by_id);
    answer->set("unserved", takeUnserved(ids, telling));
    answer->set("parts",
                Element::create(static_cast<int64_t>(partsOf(*isc::dhcp::CfgMgr::instance().getCurrentCfg()))));
    movement().watch(ids);
    told_failures = std::move(telling);
    return answer;
}

}  // namespace subnet_deleg
