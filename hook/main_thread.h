// SPDX-License-Identifier: MPL-2.0
// How our threads get something done by Kea's main thread.
//
// Kea's interface manager is not safe to use beside Kea: with multi-threading off it keeps the interface used last in a
// cache without a lock (2.2 to 3.0), and a configuration closes and opens the sockets while our threads run, without
// telling hooks when it fails. Everything that touches sockets or configuration therefore happens in the main thread,
// in between two packets, where it needs no lock at all. An eventfd among Kea's "external sockets" ends the main
// thread's select() at once: the io_context alone would be looked at only after the next packet or a second.
#ifndef SUBNET_DELEG_MAIN_THREAD_H
#define SUBNET_DELEG_MAIN_THREAD_H

#include <functional>
#include <mutex>
#include <vector>

namespace subnet_deleg {

class MainThread {
  public:
    using Action = std::function<void()>;

    /// Begin to take actions. Main thread only; once more does no harm.
    /// @throw isc::Unexpected if the system gives no eventfd
    void attach();

    /// Forget what was posted and take no more. Main thread only.
    void detach();

    /// Have select() look for posted actions again. Any thread; takes effect at the main thread's next select().
    void watch();

    /// Have select() not look for them, until `watch` or `post` is called: one descriptor less to look at for each
    /// packet of ordinary DHCP, which is noticeable. Main thread only.
    void unwatch();

    /// Whether select() looks for posted actions. Any thread.
    bool watched();

    /// Have an action run by the main thread, after those posted before. Any thread. An exception of it is logged.
    /// Where nobody watches, that may take until the next packet, a second at most.
    /// @return false when detached: the action will not run
    bool post(Action action);

  private:
    void runPosted();
    void watchLocked();

    std::mutex mutex_;
    std::vector<Action> actions_;
    int event_ = -1;
    bool watched_ = false;  // among the external sockets of Kea's select()
};

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_MAIN_THREAD_H
