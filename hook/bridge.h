// SPDX-License-Identifier: MPL-2.0
// The C ABI between the hook's C++ and its Python, both ways. The part between the two "cffi" marks is read by cffi
// (emit_bridge.py), so it is plain C without preprocessor lines. Addresses are IPv4 in host byte order.
#ifndef SUBNET_DELEG_BRIDGE_H
#define SUBNET_DELEG_BRIDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// --- cffi: C++ functions that Python calls. cffi releases the GIL around each of them.

// One packet with option 220: where it lies in the buffer that came with it, and where it came from.
typedef struct {
    uint32_t offset;            // of the DHCPv4 message in the data buffer, bytes
    uint32_t length;            // of the message, bytes
    int32_t interface;          // interface index
    uint32_t source;            // address of the sender
    uint32_t destination;       // address it was sent to, 255.255.255.255 for a broadcast
    uint32_t local_address;     // address of ours to answer from, and the server identifier
    uint16_t source_port;       // UDP
    uint16_t destination_port;  // UDP
    double received;            // CLOCK_MONOTONIC, seconds
} deleg_inbound;

// One reply: where it lies in the buffer that comes with it, and where it goes.
typedef struct {
    uint32_t offset;            // of the DHCPv4 message in the data buffer, bytes
    uint32_t length;            // of the message, bytes
    int32_t interface;          // interface index; 0: that which has the address `source`
    uint32_t source;            // address of ours
    uint32_t destination;       // 255.255.255.255 for a broadcast on the interface
    uint16_t destination_port;  // UDP
    uint8_t hardware_length;    // octets used of hardware
    uint8_t unused;             // padding, zero
    uint8_t hardware[16];       // chaddr of the client; raw sockets address the frame by it
} deleg_outbound;

// Wait up to `timeout` seconds for packets, then take all that wait, up to `limit` packets or `size` bytes. Returns
// their number, 0 after a timeout, -1 when the generation that `start` was called with is over and the caller has to
// end.
int deleg_receive(uint32_t generation, deleg_inbound* packets, int limit, uint8_t* data, size_t size, double timeout);
// Hand replies to Kea's main thread for sending; returns how many it took. A reply that its socket refuses is counted
// and logged.
int deleg_send(const deleg_outbound* replies, int count, const uint8_t* data, size_t size);
// Log `text` under an identifier registered before. Severities: 0 debug, 1 info, 2 warn, 3 error, 4 fatal. UTF-8.
void deleg_log(int severity, const char* identifier, const char* text);
// Whether a message of that severity is written.
int deleg_log_enabled(int severity);
// Make identifiers known to Kea's message dictionary. To be called from inside `start` only: it pauses Kea's packet
// threads.
void deleg_register_messages(const char* const* identifiers, int count);
// The name of counter number `index`, NULL past the last.
const char* deleg_counter_name(int index);
void deleg_count(int counter, int64_t n);
// What `subnet-deleg-status` reports as "service". Returns 0, or -1 when the text is no JSON.
int deleg_publish_status(const char* json_text);

// Have Kea's main thread do what `request_json` says, and wait up to `timeout` seconds for it. Returns 1 with the
// answer in JSON, 0 with the reason why it could not be done, -1 after a timeout, -2 when the generation is over. What
// is in
// `*answer` (else NULL) is to be given to `deleg_free`.
int deleg_ask(uint32_t generation, const char* request_json, double timeout, char** answer);
void deleg_free(char* answer);
// How many addresses were leased, given back or declined since the request "usage" was answered last; -1 where its
// answer may have changed in any way. Never waits.
int64_t deleg_moved(void);
// Wait until one of the descriptors can be read, `timeout` seconds have passed, or, looked at once a second,
// `deleg_moved` is more than `tolerance`, or -1. A `tolerance` below zero: that is not looked at.
void deleg_rest(const int* descriptors, int count, double timeout, int64_t tolerance);
// Whether Kea serves: neither an operator (`dhcp-disable`) nor a partner has told it to be silent. What is sent
// meanwhile is answered in vain, since Kea drops what it receives.
int deleg_serving(void);
// The result of `deleg_python_configured`, called with its `ticket`. Does nothing when nobody waits for that any more.
void deleg_configured(uint32_t ticket, const char* request_json);

// --- cffi: Python functions that C++ calls, from Kea's main thread only. None lets an exception out.

// Check the parameters of the hook. Returns 1 if good, 0 if refused, with the reason in `message` (UTF-8,
// NUL-terminated, cut to `size` bytes), -1 when the check itself failed, which is logged.
extern int deleg_python_configure(const char* parameters_json, char* message, size_t size);
// Say what is to be served from the first packet on, while Kea is being configured: a request "serve", by
// `deleg_configured`. Called before `deleg_python_start`, with the parameters of the last `deleg_python_configure`.
// Returns 1 when it was said, 0 when nothing is to be served, -1 when that is not known, which is logged.
extern int deleg_python_configured(uint32_t ticket);
// Start the service. Returns 1 when it runs, -1 when it failed, which is logged.
extern int deleg_python_start(uint32_t generation);
// Stop the service, waiting up to `timeout` seconds. Returns 1 when all of its threads ended, 0 when some did not, -1
// on failure.
extern int deleg_python_stop(double timeout);

// --- cffi: end

#ifdef __cplusplus
}
#endif

#endif  // SUBNET_DELEG_BRIDGE_H
