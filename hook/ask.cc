// SPDX-License-Identifier: MPL-2.0
#include "ask.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include "bridge.h"
#include "hook_state.h"
#include "requests.h"

namespace subnet_deleg {

using isc::data::ConstElementPtr;
using isc::data::Element;

void Asks::open(uint32_t generation) {
    std::lock_guard<std::mutex> lock(mutex_);
    generation_ = generation;
    open_ = true;
    changed_.notify_all();
}

void Asks::close() {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = false;
    changed_.notify_all();
}

Moment Asks::last() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return last_;
}

void Asks::answer(Question& question) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (question.abandoned) {
            return;
        }
    }
    ConstElementPtr answer;
    std::string refusal;
    try {
        answer = handleRequest(*question.request, question.asked);
    } catch (const std::exception& error) {
        refusal = error.what();
    }
    std::lock_guard<std::mutex> lock(mutex_);
    question.answer = std::move(answer);
    question.refusal = std::move(refusal);
    question.done = true;
    changed_.notify_all();
}

Asks::Verdict Asks::ask(uint32_t generation, const std::string& request, std::chrono::duration<double> timeout,
                        std::string& answer) {
    const auto question = std::make_shared<Question>();
    question->asked = now();
    try {
        question->request = Element::fromJSON(request);
    } catch (const std::exception& error) {
        answer = error.what();
        return Verdict::Refused;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    const auto over = [&] { return !open_ || generation_ != generation; };
    if (over()) {
        return Verdict::Over;
    }
    last_ = question->asked;
    lock.unlock();  // the main thread's own lock comes first, nowhere the other way round
    if (!hook().main_thread.post([this, question] { this->answer(*question); })) {
        return Verdict::Over;
    }
    lock.lock();
    changed_.wait_for(lock, timeout, [&] { return question->done || over(); });
    if (!question->done) {
        question->abandoned = true;
        return over() ? Verdict::Over : Verdict::Timeout;
    }
    lock.unlock();
    answer = question->answer ? question->answer->str() : question->refusal;
    return question->answer ? Verdict::Answered : Verdict::Refused;
}

}  // namespace subnet_deleg

using subnet_deleg::Asks;

int deleg_ask(uint32_t generation, const char* request_json, double timeout, char** answer) {
    *answer = nullptr;
    std::string text;
    const std::chrono::duration<double> patience(std::clamp(timeout, 0.0, 3600.0));
    switch (subnet_deleg::hook().asks.ask(generation, request_json, patience, text)) {
        case Asks::Verdict::Over:
            return -2;
        case Asks::Verdict::Timeout:
            return -1;
        case Asks::Verdict::Refused:
            *answer = strdup(text.c_str());
            return 0;
        case Asks::Verdict::Answered:
            *answer = strdup(text.c_str());
            return 1;
    }
    return -2;
}

void deleg_free(char* answer) {
    std::free(answer);
}
