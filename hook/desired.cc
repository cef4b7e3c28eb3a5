// SPDX-License-Identifier: MPL-2.0
#include "desired.h"

#include <dhcpsrv/subnet_id.h>
#include <exceptions/exceptions.h>

#include <algorithm>
#include <cmath>

namespace subnet_deleg {
namespace {

using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;

/// Ends that are told in whole seconds, or by clocks that are read in another order, differ by less than this.
constexpr double SameEnd = 1.0;

/// Lifetimes are lowered in steps of about this part of what remains, but no finer than a second.
constexpr double Steps = 64.0;

ConstElementPtr member(const Element& map, const std::string& name, Element::types type) {
    const ConstElementPtr value = map.get(name);
    if (value && value->getType() != type) {
        isc_throw(isc::BadValue, '"' << name << "\" is of the wrong type: " << value->str());
    }
    return value;
}

ConstElementPtr required(const Element& map, const std::string& name, Element::types type) {
    const ConstElementPtr value = member(map, name, type);
    if (!value) {
        isc_throw(isc::BadValue, '"' << name << "\" is missing in " << map.str());
    }
    return value;
}

uint32_t seconds(const Element& value) {
    if (value.intValue() < 1 || value.intValue() > UINT32_MAX) {
        isc_throw(isc::BadValue, "not a number of seconds: " << value.intValue());
    }
    return static_cast<uint32_t>(value.intValue());
}

/// The end of a block's own lease. What was meant as the same moment stays the same: else every request would change
/// lifetimes by a second up or down.
Moment endOf(const Element& subnet, Moment asked, const Wanted* before) {
    const ConstElementPtr remaining = subnet.get("remaining");
    if (!remaining || remaining->getType() == Element::null) {
        return Never;
    }
    if (remaining->getType() != Element::integer && remaining->getType() != Element::real) {
        isc_throw(isc::BadValue, "\"remaining\" is no number: " << remaining->str());
    }
    const double left =
        remaining->getType() == Element::real ? remaining->doubleValue() : static_cast<double>(remaining->intValue());
    const Moment end = asked + left;
    return before && end >= before->end && end < before->end + SameEnd ? before->end : end;
}

Wanted wantedBy(const Element& subnet, Moment asked, const Wanted* before) {
    Wanted wanted;
    ElementPtr definition = Element::createMap();
    definition->set("subnet", Element::create(required(subnet, "subnet", Element::string)->stringValue()));
    definition->set("pool", Element::create(required(subnet, "pool", Element::string)->stringValue()));
    if (const auto network = member(subnet, "network", Element::string)) {
        wanted.network = network->stringValue();
        definition->set("network", Element::create(wanted.network));
    }
    if (const auto routers = member(subnet, "routers", Element::string)) {
        definition->set("routers", Element::create(routers->stringValue()));
    }
    if (const auto relay = member(subnet, "relay", Element::list)) {
        definition->set("relay", isc::data::copy(relay));
    }
    if (const auto lifetime = member(subnet, "lifetime", Element::integer)) {
        wanted.lifetime = seconds(*lifetime);
    }
    if (const auto longest = member(subnet, "longest", Element::integer)) {
        wanted.longest = seconds(*longest);
    }
    if (const auto open = member(subnet, "open", Element::boolean)) {
        wanted.open = open->boolValue();
    }
    wanted.definition = definition;
    wanted.end = endOf(subnet, asked, before);
    return wanted;
}

uint32_t subnetIdOf(const Element& subnet) {
    const int64_t id = required(subnet, "id", Element::integer)->intValue();
    if (id < 1 || id > static_cast<int64_t>(isc::dhcp::SUBNET_ID_MAX)) {
        isc_throw(isc::BadValue, id << " can't be a subnet-id");
    }
    return static_cast<uint32_t>(id);
}

/// The longest lifetime that may be granted while `remaining` lasts; it stays the same for a step.
double limitOf(double remaining, double& step) {
    step = std::max(1.0, std::exp2(std::floor(std::log2(std::max(remaining, 1.0) / Steps))));
    return std::floor(remaining / step) * step - Margin;
}

Lifetime atMost(const Lifetime& lifetime, uint32_t limit) {
    return Lifetime(std::min(lifetime.getMin(), limit), std::min(lifetime.get(), limit),
                    std::min(lifetime.getMax(), limit));
}

}  // namespace

Desired desiredBy(const Element& request, Moment asked, const Desired& before) {
    Desired desired;
    if (const auto networks = member(request, "networks", Element::list)) {
        for (const auto& name : networks->listValue()) {
            desired.networks.push_back(name->stringValue());
        }
    }
    for (const auto& subnet : required(request, "subnets", Element::list)->listValue()) {
        const uint32_t id = subnetIdOf(*subnet);
        const auto known = before.subnets.find(id);
        const Wanted* const last = known == before.subnets.end() ? nullptr : &known->second;
        if (!desired.subnets.emplace(id, wantedBy(*subnet, asked, last)).second) {
            isc_throw(isc::BadValue, "subnet-id " << id << " occurs twice");
        }
    }
    if (const auto elsewhere = member(request, "elsewhere", Element::list)) {
        desired.elsewhere.emplace();
        for (const auto& id : elsewhere->listValue()) {
            desired.elsewhere->insert(static_cast<uint32_t>(id->intValue()));
        }
    }
    return desired;
}

bool Desired::hasEnded(uint32_t id, const std::string& network) const {
    return elsewhere && !elsewhere->count(id) &&
           (network.empty() || std::find(networks.begin(), networks.end(), network) != networks.end());
}

Terms termsOf(const Wanted& wanted, const Lifetime& inherited, Moment now) {
    Terms terms;
    terms.open = wanted.open;
    Lifetime full = wanted.lifetime ? Lifetime(*wanted.lifetime) : inherited;
    if (wanted.longest && *wanted.longest < full.getMax()) {
        terms.lifetime = full = atMost(full, *wanted.longest);
    } else if (wanted.lifetime) {
        terms.lifetime = full;
    }
    if (wanted.end == Never) {
        return terms;
    }
    const double remaining = wanted.end - now;
    double step = 0;
    const double limit = limitOf(remaining, step);
    if (limit < 1) {
        terms.ends = terms.open;
        terms.open = false;
        terms.lifetime = atMost(full, 1);
    } else if (limit < full.getMax()) {
        terms.lifetime = atMost(full, static_cast<uint32_t>(limit));
        terms.changes = now + remaining - std::floor(remaining / step) * step + 0.001;
    } else {
        terms.changes = now + remaining - std::ceil((full.getMax() + Margin) / step) * step + 0.001;
    }
    return terms;
}

bool sameLifetime(const Lifetime& one, const Lifetime& other) {
    return one.unspecified() == other.unspecified() && one.getMin() == other.getMin() && one.get() == other.get() &&
           one.getMax() == other.getMax();
}

}  // namespace subnet_deleg
