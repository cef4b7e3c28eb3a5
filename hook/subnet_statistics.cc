// SPDX-License-Identifier: MPL-2.0
#include "subnet_statistics.h"

#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/lease_mgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/ncr_generator.h>
#include <stats/stats_mgr.h>

#include <algorithm>
#include <ctime>
#include <exception>
#include <set>
#include <string>

#include "compat/kea.h"
#include "messages.h"

namespace subnet_deleg {
namespace {

using isc::dhcp::CfgMgr;
using isc::dhcp::Lease;
using isc::dhcp::Lease4Collection;
using isc::dhcp::Lease4Ptr;
using isc::dhcp::LeaseMgr;
using isc::dhcp::LeaseMgrFactory;
using isc::dhcp::Subnet4;
using isc::stats::StatsMgr;

/// More leases than come and go between two looks, in all but the wildest seconds.
constexpr uint32_t Samples = 1000;

/// All that some version of Kea keeps for a subnet.
const char* const OfSubnet[] = {
    "total-addresses",
    "assigned-addresses",
    "cumulative-assigned-addresses",
    "declined-addresses",
    "reclaimed-declined-addresses",
    "reclaimed-leases",
    "v4-lease-reuses",
    "v4-reservation-conflicts",
    "v4-allocation-fail",
    "v4-allocation-fail-shared-network",
    "v4-allocation-fail-subnet",
    "v4-allocation-fail-no-pools",
    "v4-allocation-fail-classes",
};

/// What the names of statistics begin with: of the subnet and, where Kea keeps such, of its one pool, whose number is
/// 0.
std::vector<std::string> scopesOf(const Subnet4& subnet) {
    std::vector<std::string> scopes{StatsMgr::generateName("subnet", subnet.getID(), "")};
    if (compat::hasStatistics(*subnet.getPools(Lease::TYPE_V4).front(), compat::First())) {
        scopes.push_back(scopes.front() + StatsMgr::generateName("pool", 0, ""));
    }
    return scopes;
}

void zeroUnlessThere(const std::string& name) {
    if (!StatsMgr::instance().getObservation(name)) {
        StatsMgr::instance().setValue(name, static_cast<int64_t>(0));
    }
}

/// Whether Kea has room for another change of names. It drops what is too much, and then gives up all changes for good.
bool takesNames() {
    isc::dhcp::D2ClientMgr& client = CfgMgr::instance().getD2ClientMgr();
    return !client.ddnsEnabled() || !client.amSending() || 2 * client.getQueueSize() < client.getQueueMaxSize();
}

/// Have the names of a lease taken out of DNS, where Kea put some in.
void removeNames(const Lease4Ptr& lease) {
    if ((lease->fqdn_fwd_ || lease->fqdn_rev_) && CfgMgr::instance().getD2ClientMgr().amSending()) {
        isc::dhcp::queueNCR(isc::dhcp_ddns::CHG_REMOVE, lease);  // does nothing where that is switched off
    }
}

}  // namespace

std::map<uint32_t, Leases> countLeases(const std::vector<uint32_t>& ids) {
    std::map<uint32_t, Leases> counted;
    if (ids.empty()) {
        return counted;
    }
    const std::set<uint32_t> wanted(ids.begin(), ids.end());
    const uint32_t first = *wanted.begin();
    const uint32_t last = *wanted.rbegin();
    LeaseMgr& database = LeaseMgrFactory::instance();
    const auto query = first == last ? database.startSubnetLeaseStatsQuery4(first)
                                     : database.startSubnetRangeLeaseStatsQuery4(first, last);
    isc::dhcp::LeaseStatsRow row;
    while (query && query->getNextRow(row)) {
        if (!wanted.count(row.subnet_id_)) {
            continue;
        }
        Leases& leases = counted[row.subnet_id_];
        if (row.lease_state_ == Lease::STATE_DEFAULT) {
            leases.assigned += row.state_count_;
        } else if (row.lease_state_ == Lease::STATE_DECLINED) {
            leases.assigned += row.state_count_;
            leases.declined += row.state_count_;
        }
    }
    return counted;
}

void makeStatistics(const Subnet4& subnet) {
    StatsMgr& statistics = StatsMgr::instance();
    Leases leases;
    try {
        leases = countLeases({subnet.getID()})[subnet.getID()];
    } catch (const std::exception& error) {
        LOG_WARN(logger, SUBNET_DELEG_LEASES_UNKNOWN).arg(subnet.toText()).arg(error.what());
    }
    for (const std::string& scope : scopesOf(subnet)) {
        statistics.setValue(scope + "total-addresses", static_cast<int64_t>(subnet.getPoolCapacity(Lease::TYPE_V4)));
        statistics.setValue(scope + "assigned-addresses", leases.assigned);
        statistics.setValue(scope + "declined-addresses", leases.declined);
        zeroUnlessThere(scope + "cumulative-assigned-addresses");
        zeroUnlessThere(scope + "reclaimed-declined-addresses");
        zeroUnlessThere(scope + "reclaimed-leases");
    }
    zeroUnlessThere(scopesOf(subnet).front() + "v4-reservation-conflicts");
    keepSamples(subnet.getID());
}

void keepSamples(uint32_t id) {
    StatsMgr::instance().setMaxSampleCount(StatsMgr::generateName("subnet", id, "assigned-addresses"), Samples);
}

int64_t lastLeaseEnds(uint32_t id) {
    const int64_t moment = std::time(nullptr);
    int64_t last = 0;
    for (const Lease4Ptr& lease : LeaseMgrFactory::instance().getLeases4(id)) {
        if (lease->state_ == Lease::STATE_DEFAULT || lease->state_ == Lease::STATE_DECLINED) {
            last = std::max(last, static_cast<int64_t>(lease->cltt_) + lease->valid_lft_ - moment);
        }
    }
    return last;
}

Lease4Collection leasesToForget(uint32_t id, bool ended) {
    Lease4Collection leases;
    if (ended) {  // else it may be served again, here or by other servers of these very leases; they end by themselves
        leases = LeaseMgrFactory::instance().getLeases4(id);
        // To delete each by itself takes its time, and those reclaimed are used by nobody.
        leases.erase(std::remove_if(leases.begin(), leases.end(),
                                    [](const auto& lease) { return lease->state_ == Lease::STATE_EXPIRED_RECLAIMED; }),
                     leases.end());
    }
    return leases;
}

bool forgetLeases(Lease4Collection& leases, bool ended, Moment until) {
    LeaseMgr& database = LeaseMgrFactory::instance();
    const bool in_memory = database.getType() == "memfile";  // there it costs nothing
    while (!leases.empty() && (in_memory || now() < until) && (!ended || takesNames())) {
        if (database.deleteLease(leases.back()) && ended) {
            removeNames(leases.back());
        }
        leases.pop_back();
    }
    return leases.empty();
}

void forgetStatistics(uint32_t id) {
    StatsMgr& statistics = StatsMgr::instance();
    const std::string scope = StatsMgr::generateName("subnet", id, "");
    if (const auto declined = statistics.getObservation(scope + "declined-addresses")) {
        statistics.addValue("declined-addresses", -declined->getInteger().first);
    }
    for (const char* name : OfSubnet) {
        statistics.del(scope + name);
        statistics.del(scope + StatsMgr::generateName("pool", 0, name));
    }
}

}  // namespace subnet_deleg
