// SPDX-License-Identifier: MPL-2.0
#include "inbound_queue.h"

#include <utility>

namespace subnet_deleg {

void InboundQueue::open(uint32_t generation, size_t capacity) {
    std::lock_guard<std::mutex> lock(mutex_);
    packets_.clear();
    generation_ = generation;
    capacity_ = capacity;
    open_ = true;
    arrived_.notify_all();
}

void InboundQueue::close() {
    std::lock_guard<std::mutex> lock(mutex_);
    packets_.clear();
    open_ = false;
    arrived_.notify_all();
}

Pushed InboundQueue::push(InboundPacket&& packet) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!open_) {
            return Pushed::Closed;
        }
        if (packets_.size() >= capacity_) {
            return Pushed::Full;
        }
        packets_.push_back(std::move(packet));
        ++pushes_;
    }
    arrived_.notify_one();
    return Pushed::Queued;
}

Taken InboundQueue::take(uint32_t generation, size_t limit, size_t size, std::chrono::duration<double> timeout,
                         std::vector<InboundPacket>& packets) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto over = [&] { return !open_ || generation_ != generation; };
    if (!arrived_.wait_for(lock, timeout, [&] { return over() || !packets_.empty(); })) {
        return Taken::Timeout;
    }
    if (over()) {
        return Taken::Over;
    }
    size_t used = 0;
    while (!packets_.empty() && packets.size() < limit) {
        const size_t length = packets_.front().data.size();
        if (used + length > size && length <= size) {
            break;  // it comes first in the next call
        }
        if (length <= size) {
            used += length;
            packets.push_back(std::move(packets_.front()));
        }
        packets_.pop_front();
    }
    return packets.empty() ? Taken::Timeout : Taken::Packets;
}

uint64_t InboundQueue::pushes() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return pushes_;
}

size_t InboundQueue::length() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return packets_.size();
}

size_t InboundQueue::capacity() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return capacity_;
}

}  // namespace subnet_deleg
