// SPDX-License-Identifier: MPL-2.0
#include "requests.h"

#include <dhcp/iface_mgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <exceptions/exceptions.h>

#include <string>

#include "hook_state.h"
#include "kea_ops.h"
#include "subnets.h"
#include "usage.h"

namespace subnet_deleg {
namespace {

using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;

/// The addresses that Kea listens on: those that can be a source of ours.
ElementPtr addresses() {
    ElementPtr list = Element::createList();
    for (const auto& interface : isc::dhcp::IfaceMgr::instance().getIfaces()) {
        for (const isc::dhcp::SocketInfo& socket : interface->getSockets()) {
            if (socket.addr_.isV4()) {
                ElementPtr one = Element::createMap();
                one->set("address", Element::create(socket.addr_.toText()));
                one->set("interface", Element::create(interface->getName()));
                one->set("index", Element::create(static_cast<int64_t>(interface->getIndex())));
                list->add(one);
            }
        }
    }
    ElementPtr answer = Element::createMap();
    answer->set("addresses", list);
    answer->set("lease-database", Element::create(isc::dhcp::LeaseMgrFactory::instance().getType()));
    return answer;
}

}  // namespace

ConstElementPtr handleRequest(const Element& request, Moment asked) {
    const auto op = request.getType() == Element::map ? request.get("op") : ConstElementPtr();
    if (!op || op->getType() != Element::string) {
        isc_throw(isc::BadValue, "the request has no \"op\"");
    }
    ConstElementPtr answer;
    if (op->stringValue() == "serve") {
        answer = subnets().serve(request, asked);
    } else if (op->stringValue() == "usage") {
        answer = usage(request);
    } else if (op->stringValue() == "missed") {
        answer = missed(request);
    } else if (op->stringValue() == "ends") {
        answer = ends(request);
    } else if (op->stringValue() == "addresses") {
        answer = addresses();
    } else {
        isc_throw(isc::BadValue, "there is no operation \"" << op->stringValue() << '"');
    }
    restWhenBusy();
    return answer;
}

}  // namespace subnet_deleg
