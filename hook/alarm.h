// SPDX-License-Identifier: MPL-2.0
// Wakes Kea's main thread at a given moment. A thread of its own, which costs nothing while it sleeps: a timer in Kea's
// io_context would be looked at once a second, one more descriptor in select() is paid for by every packet.
#ifndef SUBNET_DELEG_ALARM_H
#define SUBNET_DELEG_ALARM_H

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "clock.h"

namespace subnet_deleg {

class Alarm {
  public:
    /// @param action what the main thread is to do then
    explicit Alarm(std::function<void()> action) : action_(std::move(action)) {}

    /// Post the action at this moment, once, and at no other that was set before. Main thread only.
    void set(Moment when);

    /// Post nothing any more, until the next `set`. Main thread only.
    void stop();

  private:
    void run();

    const std::function<void()> action_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::thread thread_;
    Moment when_ = Never;
    bool ending_ = false;
};

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_ALARM_H
