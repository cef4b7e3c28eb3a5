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

}  // namespace
}  // namespace subnet_deleg
