// SPDX-License-Identifier: MPL-2.0
// What differs between the versions of Kea, found out by the compiler: each function has a form for one shape of Kea's
// classes and one for the other, and the one that does not fit the headers at hand is left out (SFINAE).
#ifndef SUBNET_DELEG_COMPAT_KEA_H
#define SUBNET_DELEG_COMPAT_KEA_H

#include <eval/evaluate.h>

#include <string>

namespace subnet_deleg::compat {

/// Preferred over `Otherwise` where both forms compile.
struct Otherwise {};
struct First : Otherwise {};

// A subnet has one client class up to Kea 2.6, a set of them since.

template <typename Subnet>
auto onlyForClass(Subnet& subnet, const std::string& name, First)
    -> decltype(subnet.getMutableClientClasses(), void()) {
    subnet.getMutableClientClasses().insert(name);
}
template <typename Subnet>
void onlyForClass(Subnet& subnet, const std::string& name, Otherwise) {
    subnet.allowClientClass(name);
}

template <typename Subnet>
auto forAllClasses(Subnet& subnet, First) -> decltype(subnet.getMutableClientClasses(), void()) {
    subnet.getMutableClientClasses().clear();
}
template <typename Subnet>
void forAllClasses(Subnet& subnet, Otherwise) {
    subnet.allowClientClass(std::string());
}

template <typename Subnet>
auto isForClass(const Subnet& subnet, const std::string& name, First)
    -> decltype(subnet.getClientClasses().contains(name)) {
    return subnet.getClientClasses().contains(name);
}
template <typename Subnet>
bool isForClass(const Subnet& subnet, const std::string& name, Otherwise) {
    return subnet.getClientClass(Subnet::Inheritance::NONE).get() == name;
}

// A configuration that is not to be taken over is the last of a list up to Kea 2.4, and by itself since.

template <typename CfgMgr>
auto dropStaging(CfgMgr& manager, First) -> decltype(manager.clearStagingConfiguration()) {
    manager.clearStagingConfiguration();
}
template <typename CfgMgr>
void dropStaging(CfgMgr& manager, Otherwise) {
    manager.rollback();
}

// Allocators belong to subnets since Kea 2.4, and want to be prepared.

template <typename Subnet>
auto prepareAllocators(Subnet& subnet, First) -> decltype(subnet.initAllocatorsAfterConfigure()) {
    subnet.initAllocatorsAfterConfigure();
}
template <typename Subnet>
void prepareAllocators(Subnet&, Otherwise) {}

// A hook library of the configuration is a pair up to Kea 2.6, a structure since.

template <typename Library>
auto parametersOf(const Library& library, First) -> decltype(library.parameters_) {
    return library.parameters_;
}
template <typename Library>
auto parametersOf(const Library& library, Otherwise) -> decltype(library.second) {
    return library.second;
}

// Pools have numbers, and statistics of their own, since Kea 2.4.

template <typename Pool>
auto hasStatistics(const Pool& pool, First) -> decltype(pool.getID(), true) {
    return true;
}
template <typename Pool>
bool hasStatistics(const Pool&, Otherwise) {
    return false;
}

// A class that is evaluated on request only is "required" up to Kea 2.6, "additional" since.

template <typename Class>
auto isOnRequest(const Class& one, First) -> decltype(one.getAdditional()) {
    return one.getAdditional();
}
template <typename Class>
bool isOnRequest(const Class& one, Otherwise) {
    return one.getRequired();
}

// Since Kea 2.4 a class puts a packet into itself, or, by a template, into one of its making.

template <typename Class, typename Packet, typename Expression>
auto evaluate(Class& one, const Packet& packet, const Expression& expression, First)
    -> decltype(one.test(packet, expression)) {
    one.test(packet, expression);
}
template <typename Class, typename Packet, typename Expression>
void evaluate(Class& one, const Packet& packet, const Expression& expression, Otherwise) {
    if (isc::dhcp::evaluateBool(*expression, *packet)) {
        packet->addClass(one.getName());
    }
}

}  // namespace subnet_deleg::compat

#endif  // SUBNET_DELEG_COMPAT_KEA_H
