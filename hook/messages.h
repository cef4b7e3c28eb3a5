// SPDX-License-Identifier: MPL-2.0
#ifndef SUBNET_DELEG_MESSAGES_H
#define SUBNET_DELEG_MESSAGES_H

#include <log/logger.h>
#include <log/macros.h>
#include <log/message_types.h>

#include <mutex>

namespace subnet_deleg {

#define DELEG_MESSAGE(identifier, text, explanation) extern const isc::log::MessageID identifier;
#include "messages.def"
#undef DELEG_MESSAGE

/// Everything that the hook logs, C++ or Python, goes through this logger, so that Kea's `loggers` configuration can
/// name it.
extern isc::log::Logger logger;

/// What another thread than Kea's holds while it logs: a lock that it owns, unless the process ends. Python's threads
/// may outlive main(), the logger and Kea's message dictionary do not. Kea looks messages up in that without a lock.
std::unique_lock<std::mutex> mayLog();

/// Debug messages are written at any debuglevel once the severity is DEBUG.
constexpr int DebugLevel = 0;

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_MESSAGES_H
