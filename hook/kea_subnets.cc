// SPDX-License-Identifier: MPL-2.0
#include "kea_subnets.h"

#include <asiolink/addr_utilities.h>
#include <dhcpsrv/cfg_shared_networks.h>
#include <dhcpsrv/cfg_subnets4.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/parsers/dhcp_parsers.h>
#include <dhcpsrv/parsers/simple_parser4.h>
#include <dhcpsrv/shared_network.h>

#include <algorithm>
#include <string>

#include "compat/kea.h"
#include "messages.h"
#include "pools.h"

namespace subnet_deleg {
namespace {

using isc::asiolink::IOAddress;
using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;
using isc::dhcp::SharedNetwork4Ptr;
using isc::dhcp::SrvConfig;
using isc::dhcp::Subnet4;
using isc::dhcp::Subnet4Ptr;

const char Mark[] = "subnet-deleg";

/// A class that no client is in: what is for it alone is for nobody. Kea refuses renewals there (DHCPNAK), and gives
/// new hosts addresses of another subnet of the shared network.
const char ClosedClass[] = "subnet-deleg-closed";

ElementPtr listOf(const ElementPtr& one) {
    ElementPtr list = Element::createList();
    list->add(one);
    return list;
}

/// Whether an operator has given this relay's hosts to some other subnet or network, by its address.
bool isRelayOfOthers(const SrvConfig& config, const IOAddress& relay) {
    const auto& subnets = *config.getCfgSubnets4()->getAll();
    const auto& networks = *config.getCfgSharedNetworks4()->getAll();
    return std::any_of(subnets.begin(), subnets.end(),
                       [&](const Subnet4Ptr& one) { return !definitionOf(*one) && one->hasRelayAddress(relay); }) ||
           std::any_of(networks.begin(), networks.end(),
                       [&](const SharedNetwork4Ptr& one) { return one->hasRelayAddress(relay); });
}

/// Whose hosts get addresses of a subnet beside those that its own addresses relay.
ElementPtr relaysOf(const SrvConfig& config, const ConstElementPtr& wanted) {
    ElementPtr relays = Element::createList();
    for (const auto& relay : wanted->listValue()) {
        if (!isRelayOfOthers(config, IOAddress(relay->stringValue()))) {
            relays->add(isc::data::copy(relay));
        }
    }
    return relays;
}

/// Say whose hosts, by an operator's configuration, are of another subnet until this one is withdrawn.
void tellWhatIsCovered(const SrvConfig& config, const Subnet4& subnet) {
    for (const Subnet4Ptr& other : *config.getCfgSubnets4()->getAll()) {
        for (const auto& relay : subnet.getRelayAddresses()) {
            if (!definitionOf(*other) && other->inRange(relay)) {
                LOG_WARN(logger, SUBNET_DELEG_RELAY_COVERED)
                    .arg(relay.toText())
                    .arg(subnet.toText())
                    .arg(other->toText());
            }
        }
    }
}

/// The subnet as an operator would write it.
ElementPtr asConfigured(const SrvConfig& config, uint32_t id, const Wanted& wanted) {
    ElementPtr subnet = Element::createMap();
    subnet->set("id", Element::create(static_cast<int64_t>(id)));
    subnet->set("subnet", isc::data::copy(wanted.definition->get("subnet")));
    subnet->set("pools", poolsOf(config, wanted.definition->get("pool")->stringValue()));
    if (const auto routers = wanted.definition->get("routers")) {
        ElementPtr option = Element::createMap();
        option->set("name", Element::create(std::string("routers")));
        option->set("code", Element::create(static_cast<int64_t>(isc::dhcp::DHO_ROUTERS)));
        option->set("space", Element::create(std::string("dhcp4")));
        option->set("csv-format", Element::create(true));
        option->set("data", isc::data::copy(routers));
        subnet->set("option-data", listOf(option));
    }
    if (const auto relay = wanted.definition->get("relay")) {
        const ElementPtr relays = relaysOf(config, relay);
        if (!relays->empty()) {
            ElementPtr addresses = Element::createMap();
            addresses->set("ip-addresses", relays);
            subnet->set("relay", addresses);
        }
    }
    ElementPtr context = Element::createMap();
    context->set(Mark, isc::data::copy(wanted.definition));
    subnet->set("user-context", context);
    return subnet;
}

bool overlap(const Subnet4& one, const Subnet4& other) {
    const auto [first, first_length] = one.get();
    const auto [second, second_length] = other.get();
    const uint8_t shorter = std::min(first_length, second_length);
    return isc::asiolink::firstAddrInPrefix(first, shorter) == isc::asiolink::firstAddrInPrefix(second, shorter);
}

/// Parsing looks up option definitions in the staging configuration, and makes one where there is none.
class Staging {
  public:
    explicit Staging(const SrvConfig& config)
        : in_use_(isc::dhcp::CfgMgr::instance().getStagingCfg().get() == &config) {}
    ~Staging() {
        if (!in_use_) {
            compat::dropStaging(isc::dhcp::CfgMgr::instance(), compat::First());
        }
    }
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;

  private:
    bool in_use_;
};

Subnet4Ptr parse(const SrvConfig& config, const ElementPtr& configured) {
    const Staging staging(config);
    isc::dhcp::SimpleParser4::setDefaults(configured, isc::dhcp::SimpleParser4::SHARED_SUBNET4_DEFAULTS);
    return isc::dhcp::Subnet4ConfigParser().parse(configured);
}

uint32_t globalSeconds(SrvConfig& config, const char* name, uint32_t otherwise) {
    const ConstElementPtr value = config.getConfiguredGlobal(name);
    return value && value->getType() == Element::integer ? static_cast<uint32_t>(value->intValue()) : otherwise;
}

}  // namespace

ConstElementPtr definitionOf(const Subnet4& subnet) {
    const ConstElementPtr context = subnet.getContext();
    const ConstElementPtr mark = context && context->getType() == Element::map ? context->get(Mark) : ConstElementPtr();
    return mark && mark->getType() == Element::map ? mark : ConstElementPtr();  // else it is an operator's own
}

SubnetsById ownSubnets(SrvConfig& config) {
    SubnetsById own;
    for (const Subnet4Ptr& subnet : *config.getCfgSubnets4()->getAll()) {
        if (definitionOf(*subnet)) {
            own.emplace(subnet->getID(), subnet);
        }
    }
    return own;
}

bool isInPlace(const Subnet4& subnet, const Wanted& wanted) {
    SharedNetwork4Ptr network;
    subnet.getSharedNetwork(network);
    return *definitionOf(subnet) == *wanted.definition && (network ? network->getName() : "") == wanted.network;
}

Subnet4Ptr makeSubnet(SrvConfig& config, uint32_t id, const Wanted& wanted) {
    if (!wanted.network.empty() && !networkOf(config, wanted.network)) {
        isc_throw(isc::BadValue, "there is no shared network " << wanted.network << " in Kea's configuration");
    }
    const Subnet4Ptr subnet = parse(config, asConfigured(config, id, wanted));
    for (const Subnet4Ptr& other : *config.getCfgSubnets4()->getAll()) {
        if (other->getID() == id) {
            isc_throw(isc::BadValue, "its id is that of subnet " << other->toText());
        }
        if (overlap(*subnet, *other)) {
            isc_throw(isc::BadValue, "it overlaps subnet " << other->toText() << " (id " << other->getID() << ")");
        }
    }
    tellWhatIsCovered(config, *subnet);
    return subnet;
}

void addSubnet(SrvConfig& config, const Subnet4Ptr& subnet, const Wanted& wanted) {
    if (!wanted.network.empty()) {
        networkOf(config, wanted.network)->add(subnet);
    }
    config.getCfgSubnets4()->add(subnet);
    try {
        compat::prepareAllocators(*subnet, compat::First());
    } catch (...) {  // what is said to have failed must not be served nevertheless
        removeSubnet(config, *subnet);
        throw;
    }
}

void removeSubnet(SrvConfig& config, const Subnet4& subnet) {
    SharedNetwork4Ptr network;
    subnet.getSharedNetwork(network);
    const uint32_t id = subnet.getID();
    if (network) {
        network->del(id);
    }
    config.getCfgSubnets4()->del(id);
}

SharedNetwork4Ptr networkOf(SrvConfig& config, const std::string& name) {
    return config.getCfgSharedNetworks4()->getByName(name);
}

Lifetime inheritedLifetime(SrvConfig& config, const Wanted& wanted) {
    const SharedNetwork4Ptr network = wanted.network.empty() ? SharedNetwork4Ptr() : networkOf(config, wanted.network);
    if (network) {
        const Lifetime own = network->getValid(isc::dhcp::Network::Inheritance::NONE);
        if (!own.unspecified()) {
            return own;
        }
    }
    // Not by Network::getValid(), which would look into the current configuration even for one that is being made.
    const uint32_t lifetime = globalSeconds(config, "valid-lifetime", 7200);
    return Lifetime(globalSeconds(config, "min-valid-lifetime", lifetime), lifetime,
                    globalSeconds(config, "max-valid-lifetime", lifetime));
}

bool isOpen(const Subnet4& subnet) {
    return !compat::isForClass(subnet, ClosedClass, compat::First());
}

bool grants(const Subnet4& subnet, const Terms& terms) {
    return isOpen(subnet) == terms.open &&
           sameLifetime(subnet.getValid(isc::dhcp::Network::Inheritance::NONE), terms.lifetime);
}

void grant(Subnet4& subnet, const Terms& terms) {
    subnet.setValid(terms.lifetime);
    if (isOpen(subnet) != terms.open) {
        if (terms.open) {
            compat::forAllClasses(subnet, compat::First());
        } else {
            compat::onlyForClass(subnet, ClosedClass, compat::First());
        }
    }
}

}  // namespace subnet_deleg
