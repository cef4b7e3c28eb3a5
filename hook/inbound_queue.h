// SPDX-License-Identifier: MPL-2.0
// The bounded queue between Kea's packet threads and Python's worker.
#ifndef SUBNET_DELEG_INBOUND_QUEUE_H
#define SUBNET_DELEG_INBOUND_QUEUE_H

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "bridge.h"

namespace subnet_deleg {

/// One packet on its way to Python. The `offset` of its description is set when it is taken.
struct InboundPacket {
    std::vector<uint8_t> data;
    deleg_inbound description{};
};

enum class Pushed { Queued, Full, Closed };
enum class Taken { Packets, Timeout, Over };

class InboundQueue {
  public:
    /// Begin a generation: from now on packets are kept, and those who wait for another generation are told that it is
    /// over.
    void open(uint32_t generation, size_t capacity);

    /// End the generation, forget what waits, and wake everyone who waits.
    void close();

    Pushed push(InboundPacket&& packet);

    /// Move what waits to the caller, waiting for the first packet if there is none.
    /// @param limit packets at most
    /// @param size bytes at most, all messages together; one that is longer than `size` is dropped
    Taken take(uint32_t generation, size_t limit, size_t size, std::chrono::duration<double> timeout,
               std::vector<InboundPacket>& packets);

    size_t length() const;

    /// How many packets were ever queued.
    uint64_t pushes() const;
    size_t capacity() const;

  private:
    mutable std::mutex mutex_;
    std::condition_variable arrived_;
    std::deque<InboundPacket> packets_;
    uint64_t pushes_ = 0;
    size_t capacity_ = 0;
    uint32_t generation_ = 0;
    bool open_ = false;
};

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_INBOUND_QUEUE_H
