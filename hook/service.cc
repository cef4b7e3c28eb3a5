// SPDX-License-Identifier: MPL-2.0
#include "service.h"

#include <dhcpsrv/cfgmgr.h>

#include <array>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "bridge.h"
#include "compat/kea.h"
#include "hook_state.h"
#include "interpreter.h"
#include "kea_ops.h"
#include "messages.h"
#include "signals.h"
#include "subnets.h"

namespace subnet_deleg {
namespace {

// Packets that may wait for Python: parameter queue-size. Python's settings check the range and refuse a configuration
// outside of it.
constexpr int64_t DefaultQueueSize = 4096;

// Seconds that Kea's shutdown or reload may be held up by our threads; a transaction under way needs milliseconds.
constexpr double StopPatience = 5.0;

// Seconds that a configuration may be held up by asking what is to be served: when the process has just started, and
// later, when what was served before is known, and hosts wait for Kea to go on. The first is longer than a connection
// to PostgreSQL and a statement may take by default, so that Python nearly always gives up before we do.
constexpr double ConfiguredPatience = 6.5;
constexpr double ReloadPatience = 1.0;

// All of this belongs to Kea's main thread.
int64_t queue_size = DefaultQueueSize;
uint32_t generation = 0;
bool configured = false;
bool posted = false;   // the start waits for the main loop's next turn, or has been made
bool started = false;  // Python's service was started
bool ran = false;      // in this process, before the last load

isc::data::ConstElementPtr parameter(const isc::data::ConstElementPtr& parameters, const std::string& name,
                                     isc::data::Element::types type) {
    if (!parameters || parameters->getType() != isc::data::Element::map) {
        return {};
    }
    const auto value = parameters->get(name);
    return value && value->getType() == type ? value : isc::data::ConstElementPtr();
}

/// Run Python on a thread of its own and wait for it. glibc gives each thread its own heap: what importing the package
/// leaves behind, thousands of small free chunks all over, would otherwise be what Kea's main thread gets its memory
/// from, and each packet of ordinary DHCP would pay for it in cache misses.
template <typename Action>
auto inPython(Action action) {
    const SignalsBlocked blocked;  // the thread inherits the mask
    return std::async(std::launch::async, action).get();
}

double patience() {
    return ran ? ReloadPatience : ConfiguredPatience;
}

/// What Python answers to `deleg_python_configured`, as long as somebody waits for it.
struct Served {
    std::mutex mutex;
    uint32_t ticket = 0;
    std::string request;
};
Served& served = *new Served;  // never destroyed: a thread that was left behind may answer while the process ends

/// Ask Python what is to be served. Its thread is left behind when that takes too long: it waits for PostgreSQL then.
/// @param request set to what it said, empty: nothing
/// @return whether it said anything
bool askWhatIsServed(std::string& request) {
    uint32_t ticket = 0;
    {
        std::lock_guard<std::mutex> lock(served.mutex);
        ticket = ++served.ticket;
        served.request.clear();
    }
    const auto verdict = std::make_shared<std::promise<int>>();
    std::future<int> answer = verdict->get_future();
    {
        const SignalsBlocked blocked;  // the thread inherits the mask
        std::thread([verdict, ticket] { verdict->set_value(deleg_python_configured(ticket)); }).detach();
    }
    const bool came = answer.wait_for(std::chrono::duration<double>(patience())) == std::future_status::ready;
    std::lock_guard<std::mutex> lock(served.mutex);
    ++served.ticket;
    request = std::move(served.request);
    return came && answer.get() >= 0;
}

/// Learn what is to be served, and have it in the new configuration before Kea reads its leases, each of which it looks
/// for a subnet for.
void takeOverSubnets() {
    const isc::dhcp::SrvConfigPtr configuration = configurationInTheMaking();
    if (!configuration) {
        return;
    }
    const Moment asked = now();
    std::string request;
    try {
        if (askWhatIsServed(request)) {
            subnets().remember(request, asked);
        } else {
            LOG_WARN(logger, SUBNET_DELEG_SUBNETS_REMEMBERED).arg(patience()).arg(subnets().desired().subnets.size());
        }
    } catch (const std::exception& error) {
        LOG_ERROR(logger, SUBNET_DELEG_MAIN_THREAD_FAILED).arg(error.what());
    }
    prepareConfiguration(*configuration);
}

void startPython() {
    started = true;
    if (inPython([] { return deleg_python_start(generation); }) != 1) {
        hook().queue.close();
        hook().setServiceStatus(isc::data::Element::fromJSON(R"({"state": "failed"})"));
        LOG_ERROR(logger, SUBNET_DELEG_START_FAILED);
    }
}

}  // namespace

bool configureService(const isc::data::ConstElementPtr& parameters) {
    const auto size = parameter(parameters, "queue-size", isc::data::Element::integer);
    queue_size = size && size->intValue() > 0 ? size->intValue() : DefaultQueueSize;
    const auto path = parameter(parameters, "python-path", isc::data::Element::string);

    const std::string python_path = path ? path->stringValue() : std::string();
    const std::string failure = inPython([&] { return startInterpreter(python_path); });
    if (!failure.empty()) {
        LOG_ERROR(logger, SUBNET_DELEG_INTERPRETER_FAILED).arg(failure);
        return false;
    }
    std::array<char, 4096> message{};
    const std::string json = parameters ? parameters->str() : "{}";
    const int verdict = inPython([&] { return deleg_python_configure(json.c_str(), message.data(), message.size()); });
    if (verdict == 0) {
        LOG_ERROR(logger, SUBNET_DELEG_REFUSED).arg(message.data());
    }
    configured = verdict == 1;
    if (configured) {
        takeOverSubnets();
        LOG_INFO(logger, SUBNET_DELEG_LOADED).arg(SUBNET_DELEG_VERSION);
        if (ran) {
            startService();  // Kea 2.2's libreload loads hooks without configuring the server again
        }
    }
    return configured;
}

isc::dhcp::SrvConfigPtr configurationInTheMaking() {
    const auto staging = isc::dhcp::CfgMgr::instance().getStagingCfg();
    if (!staging->getHooksConfig().get().empty()) {
        return staging;
    }
    compat::dropStaging(isc::dhcp::CfgMgr::instance(), compat::First());  // it came to be by asking for it
    return {};
}

void prepareConfiguration(isc::dhcp::SrvConfig& configuration) {
    try {
        subnets().prepare(configuration);
    } catch (const std::exception& error) {
        LOG_ERROR(logger, SUBNET_DELEG_MAIN_THREAD_FAILED).arg(error.what());
    }
}

void startService() {
    if (posted) {
        hook().main_thread.attach();  // once more, should the configuration have forgotten it
        return;
    }
    posted = ran = true;
    hook().queue.open(++generation, static_cast<size_t>(queue_size));
    hook().asks.open(generation);
    dropReplies();  // before anything is posted: else nothing would be for them
    hook().main_thread.attach();
    hook().main_thread.post([] { subnets().settle(); });
    hook().main_thread.post(startPython);
}

void stopService() {
    hook().queue.close();
    hook().asks.close();  // or Python's threads would wait for this one, and this one for them
    subnets().rest();
    if (started) {
        const int ended = inPython([] { return deleg_python_stop(StopPatience); });
        if (ended != 1) {
            LOG_WARN(logger, SUBNET_DELEG_STOP_SLOW).arg(StopPatience);
        }
        started = false;
    }
    posted = false;
    flushReplies();  // what the last batch answered
    hook().main_thread.detach();
    dropReplies();  // of a thread that was left behind: what was posted for them is gone
    hook().setServiceStatus({});
    if (configured) {
        configured = false;
        LOG_INFO(logger, SUBNET_DELEG_UNLOADED);
    }
}

}  // namespace subnet_deleg

void deleg_configured(uint32_t ticket, const char* request_json) {
    using subnet_deleg::served;
    std::lock_guard<std::mutex> lock(served.mutex);
    if (ticket == served.ticket) {
        served.request = request_json;
    }
}
