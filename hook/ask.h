// SPDX-License-Identifier: MPL-2.0
// How Python asks Kea's main thread for something and waits for the answer: the configuration belongs to that thread.
#ifndef SUBNET_DELEG_ASK_H
#define SUBNET_DELEG_ASK_H

#include <cc/data.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "clock.h"

namespace subnet_deleg {

class Asks {
  public:
    enum class Verdict { Answered, Refused, Timeout, Over };

    /// Begin a generation: its questions are taken from now on.
    void open(uint32_t generation);

    /// End the generation. Who waits for an answer is told so at once, and so is who asks from now on: unload() runs in
    /// the main thread, which could answer nobody while it waits for Python's threads.
    void close();

    /// Put a question to the main thread. Any other thread, without the GIL.
    /// @param request JSON: a map with an "op"
    /// @param answer set to the answer's JSON, or to why there is none (Refused)
    /// @return Timeout where the main thread did not answer in time: what it has not begun, it will not do
    Verdict ask(uint32_t generation, const std::string& request, std::chrono::duration<double> timeout,
                std::string& answer);

    /// When something was asked last.
    Moment last() const;

  private:
    struct Question {
        isc::data::ConstElementPtr request;
        Moment asked = 0;
        bool done = false;
        bool abandoned = false;
        isc::data::ConstElementPtr answer;  // of a question that is done
        std::string refusal;                // why there is no answer
    };

    void answer(Question& question);

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    uint32_t generation_ = 0;
    bool open_ = false;
    Moment last_ = 0;
};

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_ASK_H
