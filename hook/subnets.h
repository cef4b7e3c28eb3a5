// SPDX-License-Identifier: MPL-2.0
// The subnets that we add to Kea: the list that Python gave last, and how Kea's configuration is made to agree with it.
//
// What is there is read from Kea's configuration each time, never remembered: a reload, a command of an operator's or a
// configuration backend may have changed it. Of what is there only what we made counts. Only where something differs
// are Kea's packet threads stopped.
#ifndef SUBNET_DELEG_SUBNETS_H
#define SUBNET_DELEG_SUBNETS_H

#include <cc/data.h>
#include <dhcpsrv/lease.h>
#include <dhcpsrv/srv_config.h>
#include <boost/weak_ptr.hpp>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "alarm.h"
#include "clock.h"
#include "desired.h"
#include "kea_subnets.h"

namespace subnet_deleg {

class Subnets {
  public:
    Subnets();

    /// Make Kea agree with a list (operation "serve").
    /// @throw isc::Exception where the request is not what it should be; nothing was changed then
    isc::data::ConstElementPtr serve(const isc::data::Element& request, Moment asked);

    /// Take a list over while Kea is being configured; `prepare` makes it so.
    /// @param request JSON; empty: nothing is to be served
    /// @throw isc::Exception where it is not what it should be; the list from before stays then
    void remember(const std::string& request, Moment asked);

    /// Put the subnets of the list into a configuration that Kea has not taken over yet.
    void prepare(isc::dhcp::SrvConfig& config);

    /// Finish what can only be done once Kea has taken its configuration over. Before the first packet.
    void settle();

    /// Do nothing by ourselves any more, until the next `settle` or `serve`.
    void rest();

    const Desired& desired() const { return desired_; }

  private:
    struct Plan;

    struct Gone {
        std::string network;
        /// Those that are to be deleted yet; absent: not looked for.
        std::optional<isc::dhcp::Lease4Collection> leases;
    };

    void look();
    Plan plan(isc::dhcp::SrvConfig& config);
    /// Whether we made this subnet. One that a file brings with it (config-write, config-get) has pools and inherited
    /// parameters of that time.
    bool isMade(const isc::dhcp::Subnet4Ptr& subnet);
    void make(isc::dhcp::SrvConfig& config, Plan& plan);
    void carryOut(Plan& plan, isc::dhcp::SrvConfig& config, bool live);
    void carryOutLive(Plan& plan, isc::dhcp::SrvConfig& config);
    /// @return whether there is nothing left to be done soon
    bool forgetGone();
    void failed(uint32_t id, const std::string& why, Plan& plan);
    std::vector<std::string> unknownNetworks(isc::dhcp::SrvConfig& config);
    void watchNetworks(isc::dhcp::SrvConfig& config);

    Desired desired_;
    bool known_ = false;                                                 ///< the list was given, be it an empty one
    std::map<uint32_t, Gone> gone_;                                      ///< no longer served, not forgotten yet
    std::map<uint32_t, std::string> failures_;                           ///< logged already
    std::set<std::string> unknown_;                                      ///< networks, logged already
    std::multimap<uint32_t, boost::weak_ptr<isc::dhcp::Subnet4>> made_;  ///< in whatever configuration they are
    Alarm alarm_;
};

/// The one instance. It outlives a reload: so does the list.
Subnets& subnets();

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_SUBNETS_H
