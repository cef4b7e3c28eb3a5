// SPDX-License-Identifier: MPL-2.0
#include "subnets.h"

#include <dhcpsrv/cfg_shared_networks.h>
#include <dhcpsrv/cfg_subnets4.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/shared_network.h>
#include <util/multi_threading_mgr.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <iterator>
#include <utility>

#include "lease_ends.h"
#include "messages.h"
#include "subnet_statistics.h"
#include "unserved.h"

namespace subnet_deleg {

using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;
using isc::dhcp::CfgMgr;
using isc::dhcp::SharedNetwork4Ptr;
using isc::dhcp::SrvConfig;
using isc::dhcp::SrvConfigPtr;
using isc::dhcp::Subnet4Ptr;

/// What differs between the list and a configuration.
struct Subnets::Plan {
    struct Step {
        Subnet4Ptr subnet;
        Terms terms;
        bool replaced = false;  // withdrawn to be added anew, with another definition
    };
    std::vector<Step> withdrawn;
    std::map<uint32_t, Step> added;    // subnets made by `make`
    std::map<uint32_t, Step> altered;  // open or not, lifetimes
    std::map<uint32_t, std::string> failed;
    std::vector<uint32_t> opened, closed;  // of those altered
    Moment next = Never;

    bool empty() const { return withdrawn.empty() && added.empty() && altered.empty(); }
};

namespace {

/// Seconds in which leases of withdrawn subnets are deleted, which in an SQL database is done one by one, and for which
/// packets have their turn then.
constexpr double ForgetTime = 0.05;
constexpr double ForgetPause = 0.05;

SrvConfigPtr current() {
    return CfgMgr::instance().getCurrentCfg();
}

ElementPtr listOf(const std::vector<uint32_t>& ids) {
    ElementPtr list = Element::createList();
    for (const uint32_t id : ids) {
        list->add(Element::create(static_cast<int64_t>(id)));
    }
    return list;
}

/// Whether hosts of a network can get addresses; a subnet of an operator's counts as well.
bool hasOpenSubnet(const isc::dhcp::SharedNetwork4& network) {
    const auto& all = *network.getAllSubnets();
    return std::any_of(all.begin(), all.end(), [](const Subnet4Ptr& subnet) {
        return isOpen(*subnet) && !subnet->getPools(isc::dhcp::Lease::TYPE_V4).empty();
    });
}

Unserved::Network asUnserved(const isc::dhcp::SharedNetwork4& network) {
    Unserved::Network unserved;
    unserved.name = network.getName();
    unserved.interface = network.getIface(isc::dhcp::Network::Inheritance::NONE).get();
    for (const auto& relay : network.getRelayAddresses()) {
        unserved.relays.push_back(relay.toUint32());
    }
    return unserved;
}

}  // namespace

Subnets::Subnets() : alarm_([this] { look(); }) {}

ConstElementPtr Subnets::serve(const Element& request, Moment asked) {
    desired_ = desiredBy(request, asked, desired_);
    known_ = true;
    for (auto failure = failures_.begin(); failure != failures_.end();) {
        failure = desired_.subnets.count(failure->first) ? std::next(failure) : failures_.erase(failure);
    }
    const SrvConfigPtr config = current();
    Plan differences = plan(*config);
    carryOutLive(differences, *config);

    std::vector<uint32_t> added, withdrawn;
    for (const auto& [id, step] : differences.added) {
        added.push_back(id);
    }
    for (const Plan::Step& step : differences.withdrawn) {
        if (!step.replaced) {
            withdrawn.push_back(step.subnet->getID());
        }
    }
    ElementPtr failed = Element::createMap();
    for (const auto& [id, why] : differences.failed) {
        failed->set(std::to_string(id), Element::create(why));
    }
    ElementPtr unknown = Element::createList();
    for (const std::string& name : unknownNetworks(*config)) {
        unknown->add(Element::create(name));
    }
    ElementPtr answer = Element::createMap();
    answer->set("added", listOf(added));
    answer->set("opened", listOf(differences.opened));
    answer->set("closed", listOf(differences.closed));
    answer->set("withdrawn", listOf(withdrawn));
    answer->set("failed", failed);
    answer->set("unknown-networks", unknown);
    return answer;
}

void Subnets::remember(const std::string& request, Moment asked) {
    Desired desired;
    if (!request.empty()) {
        desired = desiredBy(*Element::fromJSON(request), asked, desired_);
    }
    for (const auto& [id, wanted] : desired_.subnets) {
        if (!desired.subnets.count(id)) {
            gone_.insert_or_assign(id, Gone{wanted.network, {}});
        }
    }
    desired_ = std::move(desired);
    known_ = true;
}

void Subnets::prepare(SrvConfig& config) {
    Plan differences = plan(config);
    carryOut(differences, config, false);
    if (!differences.added.empty()) {
        LOG_INFO(logger, SUBNET_DELEG_SUBNETS_RESTORED).arg(differences.added.size());
    }
}

void Subnets::settle() {
    for (const auto& [id, subnet] : ownSubnets(*current())) {
        keepSamples(id);
    }
    look();
}

void Subnets::rest() {
    alarm_.stop();
}

void Subnets::look() {
    const SrvConfigPtr config = current();
    Plan differences = plan(*config);
    carryOutLive(differences, *config);
}

Subnets::Plan Subnets::plan(SrvConfig& config) {
    Plan plan;
    const Moment moment = now();
    const SubnetsById own = ownSubnets(config);
    for (const auto& [id, subnet] : own) {
        const auto wanted = desired_.subnets.find(id);
        if (wanted == desired_.subnets.end() || !isMade(subnet) || !isInPlace(*subnet, wanted->second)) {
            plan.withdrawn.push_back({subnet, {}, wanted != desired_.subnets.end()});
        }
    }
    for (const auto& [id, wanted] : desired_.subnets) {
        const Terms terms = termsOf(wanted, inheritedLifetime(config, wanted), moment);
        plan.next = std::min(plan.next, terms.changes);
        const auto there = own.find(id);
        if (there == own.end() || !isMade(there->second) || !isInPlace(*there->second, wanted)) {
            plan.added[id].terms = terms;
        } else if (!grants(*there->second, terms)) {
            plan.altered[id] = {there->second, terms};
            if (isOpen(*there->second) != terms.open) {
                (terms.open ? plan.opened : plan.closed).push_back(id);
            }
        }
    }
    return plan;
}

bool Subnets::isMade(const Subnet4Ptr& subnet) {
    const auto [first, last] = made_.equal_range(subnet->getID());
    return std::any_of(first, last, [&subnet](const auto& made) { return made.second.lock() == subnet; });
}

void Subnets::make(SrvConfig& config, Plan& plan) {
    for (auto made = made_.begin(); made != made_.end();) {
        made = made->second.expired() ? made_.erase(made) : std::next(made);
    }
    for (auto step = plan.added.begin(); step != plan.added.end();) {
        const uint32_t id = step->first;
        try {
            const Wanted& wanted = desired_.subnets.at(id);
            step->second.subnet = makeSubnet(config, id, wanted);
            grant(*step->second.subnet, step->second.terms);
            addSubnet(config, step->second.subnet, wanted);
            made_.emplace(id, step->second.subnet);
            failures_.erase(id);
            ++step;
        } catch (const std::exception& error) {
            failed(id, error.what(), plan);
            step = plan.added.erase(step);
        }
    }
}

void Subnets::carryOut(Plan& plan, SrvConfig& config, bool live) {
    for (const Plan::Step& step : plan.withdrawn) {
        removeSubnet(config, *step.subnet);
        if (!step.replaced && known_) {
            const auto network = definitionOf(*step.subnet)->get("network");
            const bool named = network && network->getType() == isc::data::Element::string;
            gone_.insert_or_assign(step.subnet->getID(), Gone{named ? network->stringValue() : std::string(), {}});
        }
    }
    make(config, plan);
    for (const auto& [id, step] : plan.added) {
        if (live) {
            makeStatistics(*step.subnet);
        }
    }
    for (const auto& [id, step] : plan.altered) {
        if (step.terms.ends && isOpen(*step.subnet)) {
            LOG_INFO(logger, SUBNET_DELEG_SUBNET_ENDS).arg(step.subnet->toText());
        }
        grant(*step.subnet, step.terms);
    }
}

bool Subnets::forgetGone() {
    const Moment until = now() + ForgetTime;
    for (auto gone = gone_.begin(); gone != gone_.end();) {
        auto& [id, left] = *gone;
        try {
            // Not if it is wanted again, or an operator has given the id to a subnet meanwhile.
            if (!desired_.subnets.count(id) && !current()->getCfgSubnets4()->getBySubnetId(id)) {
                const bool ended = desired_.hasEnded(id, left.network);
                if (!left.leases || !ended) {
                    left.leases = leasesToForget(id, ended);
                }
                if (!forgetLeases(*left.leases, ended, until)) {
                    return false;
                }
                forgetStatistics(id);
            }
        } catch (const std::exception& error) {
            LOG_WARN(logger, SUBNET_DELEG_LEASES_REMAIN).arg(id).arg(error.what());
            left.leases.reset();
            return true;  // the others would fail alike; the next list tries again
        }
        gone = gone_.erase(gone);
        if (now() >= until) {
            break;
        }
    }
    return gone_.empty();
}

void Subnets::carryOutLive(Plan& plan, SrvConfig& config) {
    if (!plan.empty()) {
        const isc::util::MultiThreadingCriticalSection alone;
        carryOut(plan, config, true);
    }
    const bool forgotten = forgetGone();  // no packet thread has one of these subnets in its hands any more
    LeaseEnds::Limits limits;
    for (const auto& [id, wanted] : desired_.subnets) {
        if (wanted.end != Never || wanted.longest) {
            limits.emplace(id, LeaseEnds::Limit{wanted.end, wanted.longest.value_or(UINT32_MAX)});
        }
    }
    leaseEnds().set(std::move(limits));
    alarm_.set(forgotten ? plan.next : std::min(plan.next, now() + ForgetPause));
    watchNetworks(config);
}

void Subnets::failed(uint32_t id, const std::string& why, Plan& plan) {
    plan.failed[id] = why;
    if (failures_[id] != why) {
        failures_[id] = why;
        LOG_WARN(logger, SUBNET_DELEG_SUBNET_FAILED)
            .arg(desired_.subnets.at(id).definition->get("subnet")->stringValue())
            .arg(why);
    }
}

std::vector<std::string> Subnets::unknownNetworks(SrvConfig& config) {
    std::vector<std::string> unknown;
    for (const std::string& name : desired_.networks) {
        if (networkOf(config, name)) {
            unknown_.erase(name);
            continue;
        }
        unknown.push_back(name);
        if (unknown_.insert(name).second) {
            LOG_WARN(logger, SUBNET_DELEG_NETWORK_UNKNOWN).arg(name);
        }
    }
    return unknown;
}

void Subnets::watchNetworks(SrvConfig& config) {
    std::vector<Unserved::Network> without;
    for (const std::string& name : desired_.networks) {
        const SharedNetwork4Ptr network = networkOf(config, name);
        if (network && !hasOpenSubnet(*network)) {
            without.push_back(asUnserved(*network));
        }
    }
    unserved().watch(std::move(without));
}

Subnets& subnets() {
    static Subnets* const instance = new Subnets;
    return *instance;
}

}  // namespace subnet_deleg
