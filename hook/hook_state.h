// SPDX-License-Identifier: MPL-2.0
// What lives as long as the process: the library stays resident, because Python can't be started a second time.
#ifndef SUBNET_DELEG_HOOK_STATE_H
#define SUBNET_DELEG_HOOK_STATE_H

#include <cc/data.h>

#include <mutex>

#include "ask.h"
#include "inbound_queue.h"
#include "main_thread.h"

namespace subnet_deleg {

struct Hook {
    InboundQueue queue;
    MainThread main_thread;
    Asks asks;

    /// What Python published last; the elements are never changed once they are here.
    isc::data::ConstElementPtr serviceStatus();
    void setServiceStatus(isc::data::ConstElementPtr status);

  private:
    std::mutex status_mutex_;
    isc::data::ConstElementPtr status_;
};

/// The one instance. It is never destroyed: a thread of Python's may outlive main().
Hook& hook();

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_HOOK_STATE_H
