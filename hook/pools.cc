// SPDX-License-Identifier: MPL-2.0
#include "pools.h"

#include <asiolink/io_address.h>
#include <hooks/hooks.h>

#include <algorithm>
#include <string>
#include <vector>

#include "compat/kea.h"

namespace subnet_deleg {
namespace {

using isc::asiolink::IOAddress;
using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;

/// A value of a map; null where there is no map, or it has none of that type.
ConstElementPtr valueOf(const ConstElementPtr& map, const char* key, Element::types type) {
    const ConstElementPtr value = map && map->getType() == Element::map ? map->get(key) : ConstElementPtr();
    return value && value->getType() == type ? value : ConstElementPtr();
}

std::string textOf(const ConstElementPtr& map, const char* key) {
    const ConstElementPtr value = valueOf(map, key, Element::string);
    return value ? value->stringValue() : std::string();
}

/// What libdhcp_ha.so is told of each pair (or more) of servers.
std::vector<ConstElementPtr> pairsOf(const isc::dhcp::SrvConfig& config) {
    std::vector<ConstElementPtr> pairs;
    for (const auto& library : config.getHooksConfig().get()) {
        const ConstElementPtr list =
            valueOf(compat::parametersOf(library, compat::First()), "high-availability", Element::list);
        for (size_t i = 0; list && i < list->size(); ++i) {
            pairs.push_back(list->get(i));
        }
    }
    return pairs;
}

/// The servers of a pair that balances load, the primary first; none where there is no such pair.
std::vector<std::string> balancing(const isc::dhcp::SrvConfig& config) {
    std::vector<std::string> names(2);
    for (const ConstElementPtr& pair : pairsOf(config)) {
        const ConstElementPtr peers = valueOf(pair, "peers", Element::list);
        for (size_t j = 0; textOf(pair, "mode") == "load-balancing" && peers && j < peers->size(); ++j) {
            const std::string role = textOf(peers->get(j), "role");
            if (role == "primary" || role == "secondary") {
                names[role == "secondary"] = textOf(peers->get(j), "name");
            }
        }
    }
    return names[0].empty() || names[1].empty() ? std::vector<std::string>() : names;
}

/// The Kea, as KEA_HOOKS_VERSION has it, from which on a pair counts what its partner refuses.
constexpr int RefusalsCount = 20301;

ElementPtr poolOf(const std::string& range) {
    ElementPtr pool = Element::createMap();
    pool->set("pool", Element::create(range));
    return pool;
}

ElementPtr poolFor(const std::string& server, uint32_t first, uint32_t last) {
    ElementPtr pool = poolOf(IOAddress(first).toText() + "-" + IOAddress(last).toText());
    pool->set("client-class", Element::create("HA_" + server));
    return pool;
}

}  // namespace

ElementPtr poolsOf(const isc::dhcp::SrvConfig& config, const std::string& range) {
    ElementPtr pools = Element::createList();
    const std::vector<std::string> servers = balancing(config);
    const size_t dash = range.find('-');
    if (servers.empty() || dash == std::string::npos) {
        pools->add(poolOf(range));
        return pools;
    }
    const uint32_t first = IOAddress(range.substr(0, dash)).toUint32();
    const uint32_t last = IOAddress(range.substr(dash + 1)).toUint32();
    const uint32_t middle = first + (last - first) / 2;
    pools->add(poolFor(servers[0], first, middle));
    if (middle < last) {
        pools->add(poolFor(servers[1], middle + 1, last));
    }
    return pools;
}

size_t partsOf(const isc::dhcp::SrvConfig& config) {
    return std::max<size_t>(1, balancing(config).size());
}

bool endsWithRefusals(const isc::dhcp::SrvConfig& config) {
    const auto pairs = pairsOf(config);
    return KEA_HOOKS_VERSION >= RefusalsCount && std::any_of(pairs.begin(), pairs.end(), [](const auto& pair) {
               const auto updates = valueOf(pair, "send-lease-updates", Element::boolean);
               const auto limit = valueOf(pair, "max-rejected-lease-updates", Element::integer);
               return (!updates || updates->boolValue()) && (!limit || limit->intValue() != 0);
           });
}

}  // namespace subnet_deleg
