// SPDX-License-Identifier: MPL-2.0
#include "alarm.h"

#include <algorithm>
#include <chrono>

#include "hook_state.h"
#include "signals.h"

namespace subnet_deleg {
namespace {
constexpr double Longest = 3600.0;  // seconds in one wait: any number of them would not fit into a time of the system
}  // namespace

void Alarm::set(Moment when) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        when_ = when;
    }
    if (when != Never && !thread_.joinable()) {
        const SignalsBlocked blocked;  // the thread inherits the mask
        ending_ = false;
        thread_ = std::thread([this] { run(); });
    }
    changed_.notify_all();
}

void Alarm::stop() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        when_ = Never;
        ending_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void Alarm::run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!ending_) {
        const double left = when_ - now();
        if (when_ == Never) {
            changed_.wait(lock);
        } else if (left > 0) {
            changed_.wait_for(lock, std::chrono::duration<double>(std::min(left, Longest)));
        } else {
            when_ = Never;
            hook().main_thread.post(action_);
        }
    }
}

}  // namespace subnet_deleg
