// SPDX-License-Identifier: MPL-2.0
#include "messages.h"

#include <log/message_initializer.h>

namespace subnet_deleg {

#define DELEG_MESSAGE(identifier, text, explanation) extern const isc::log::MessageID identifier = #identifier;
#include "messages.def"
#undef DELEG_MESSAGE

isc::log::Logger logger("subnet-deleg-hooks");

namespace {

const char* dictionary[] = {
#define DELEG_MESSAGE(identifier, text, explanation) #identifier, text,
#include "messages.def"
#undef DELEG_MESSAGE
    nullptr};

// Kea's library manager moves the texts into its dictionary after opening the library.
const isc::log::MessageInitializer initializer(dictionary);

std::mutex& gate() {
    static std::mutex* const instance = new std::mutex;  // never destroyed
    return *instance;
}

bool ending = false;

/// The last object of this file, so the first to be destroyed: before the logger and the messages.
const struct Ending {
    Ending() = default;
    ~Ending() {
        std::lock_guard<std::mutex> lock(gate());
        ending = true;
    }
} at_exit;

}  // namespace

std::unique_lock<std::mutex> mayLog() {
    std::unique_lock<std::mutex> lock(gate());
    if (ending) {
        lock.unlock();
    }
    return lock;
}

}  // namespace subnet_deleg
