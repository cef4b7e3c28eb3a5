// SPDX-License-Identifier: MPL-2.0
#include "main_thread.h"

#include <dhcp/iface_mgr.h>
#include <exceptions/exceptions.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "messages.h"

namespace subnet_deleg {

void MainThread::attach() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (event_ >= 0) {
        watched_ = false;
        watchLocked();
        return;
    }
    event_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (event_ < 0) {
        isc_throw(isc::Unexpected, "no eventfd: " << std::strerror(errno));
    }
    watchLocked();
}

void MainThread::watch() {
    std::lock_guard<std::mutex> lock(mutex_);
    watchLocked();
}

void MainThread::watchLocked() {
    if (event_ >= 0 && !watched_) {
        // Takes a lock of its own, in all versions of Kea, and is read afresh before each select().
        isc::dhcp::IfaceMgr::instance().addExternalSocket(event_, [this](int) { runPosted(); });
        watched_ = true;
    }
}

void MainThread::unwatch() {
    // With a packet queue of Kea's (dhcp-queue-control), who takes a packet is not who waits in select().
    if (isc::dhcp::IfaceMgr::instance().isDHCPReceiverRunning()) {
        return;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    if (event_ >= 0 && watched_ && actions_.empty()) {
        isc::dhcp::IfaceMgr::instance().deleteExternalSocket(event_);
        watched_ = false;
    }
}

bool MainThread::watched() {
    std::lock_guard<std::mutex> lock(mutex_);
    return watched_;
}

void MainThread::detach() {
    std::lock_guard<std::mutex> lock(mutex_);
    actions_.clear();
    if (event_ >= 0) {
        if (watched_) {
            isc::dhcp::IfaceMgr::instance().deleteExternalSocket(event_);
            watched_ = false;
        }
        close(event_);
        event_ = -1;
    }
}

bool MainThread::post(Action action) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (event_ < 0) {
        return false;
    }
    actions_.push_back(std::move(action));
    eventfd_write(event_, 1);  // can fail only where 2^64 actions wait
    watchLocked();
    return true;
}

void MainThread::runPosted() {
    std::vector<Action> actions;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        eventfd_t posted;
        eventfd_read(event_, &posted);
        actions.swap(actions_);
    }
    for (const Action& action : actions) {
        try {
            action();
        } catch (const std::exception& error) {
            LOG_ERROR(logger, SUBNET_DELEG_MAIN_THREAD_FAILED).arg(error.what());
        }
    }
}

}  // namespace subnet_deleg
