# SPDX-License-Identifier: MPL-2.0
"""What the hook's C++ half offers to Python, as Python sees it.

The rest of the package knows Kea only as the protocol `Kea` and packets only as `Inbound` and `Outbound`, so that it can be imported
and tested without Kea. `EmbeddedKea` is the one that stands on the C functions of hook/bridge.h; it exists inside kea-dhcp4 alone.
"""

import enum
import json
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from kea_subnet_deleg.roles.packets import Inbound, Outbound


class Severity(enum.IntEnum):
    """Kea's severities, in the numbers of hook/bridge.h."""

    DEBUG = 0
    INFO = 1
    WARN = 2
    ERROR = 3
    FATAL = 4


class KeaUnavailable(Exception):
    """Kea's main thread gave no answer in time. What was asked may be done or not."""


class KeaUnloads(KeaUnavailable):
    """Nor will it: the hook is being unloaded, and who asks is about to be stopped."""


class KeaRefused(Exception):
    """Kea did nothing of what was asked for; the text says why."""


class Kea(Protocol):
    """What the service may ask of Kea. All of it may be called from any thread, except where it says otherwise."""

    def receive(self, limit: int, timeout: float) -> list[Inbound] | None:
        """Take the packets that wait, without the GIL while there are none.

        One thread at a time, since the buffers are reused; others wait for their turn.

        Args:
            limit: packets at most.
            timeout: seconds to wait for the first one.

        Returns:
            The packets in the order of their arrival, none after a timeout; None when the service has to stop.
        """
        ...

    def send(self, replies: Sequence[Outbound]) -> int:
        """Hand replies to Kea's main thread, which sends them at once, in this order.

        Does not wait for it. What a socket refuses is counted as `send-failed` and logged at DEBUG.

        Returns:
            The number that was taken: all of them, unless one is no DHCPv4 message (shorter than 236 octets), the main thread is
            tens of thousands of replies behind, or the hook is being unloaded.
        """
        ...

    def ask(self, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        """Have Kea's main thread do something, and wait for the answer, without the GIL.

        Not from within `configured`, `start` or `stop`: the main thread waits for those. The requests, by their "op":

        `serve`: "networks", names of shared networks, "subnets", the whole list of what is to be served beside Kea's own
        configuration, and "elsewhere", the ids of all other blocks that are these networks' or reserved. A subnet is a map of "id"
        (subnet-id), "subnet", "pool", "open" and, where they apply, "network" (shared network that it belongs to), "relay" (list of
        giaddrs, for a subnet of its own), "routers" (for option 3), "lifetime" (of hosts' leases, seconds; else that of the network),
        "longest" (seconds that none of these exceeds), "remaining" (seconds that the block's own lease lasts: no host's lease gets
        beyond). What was served before and is not in the
        list is withdrawn, and its leases are deleted; in a lease database that other servers may have too (not memfile) only if the
        block has ended: it is not elsewhere, and its network, where it has one, is among "networks". Kea keeps to the list through
        reloads, and by itself lowers lifetimes and closes a subnet as its end comes near. The answer has lists of the ids "added",
        "opened", "closed", "withdrawn"; "failed", ids (as text) and why; "unknown-networks". What failed is tried again with each list.

        `usage`: "ids". The answer has "subnets", for each id (as text) by Kea's statistics "assigned" (declined ones among them, as Kea
        counts), "declined", and, since the last such request, "peak" (most assigned at once) and "failures" (allocations that failed);
        "unserved", for each network of the list the hosts' messages that found no open subnet in it, or that failed in a subnet of
        it that is not ours; and "parts", how many a pair that balances load has parted each subnet's addresses in (1: none has).

        `ends`: "ids". The answer has "subnets", for each id (as text) the seconds until the last lease there ends; 0: there is none.

        `missed`: "ids". The answer has "subnets", for each id (as text) by how much the leases there are exceed Kea's statistics:
        "assigned", "declined".

        `addresses`: the answer has "addresses", maps of "address", "interface", "index": where Kea listens; and "lease-database", its
        type.

        Raises:
            KeaUnavailable: no answer within `timeout` seconds.
            KeaUnloads: the hook is being unloaded.
            KeaRefused: the request as a whole can't be done.
        """
        ...

    def moved(self) -> int | None:
        """Tell how many addresses were leased, given back or declined since `usage` was answered last, at next to no cost.

        What happened within the last half second may be missing. None: the answer may have changed in any way, as by hosts not served.
        """
        ...

    def rest(self, descriptors: Sequence[int], timeout: float, tolerance: int | None = None) -> None:
        """Wait until a descriptor can be read, without the GIL, for `timeout` seconds at most.

        Args:
            descriptors: files, or sockets, of the caller's.
            timeout: seconds.
            tolerance: addresses. If `moved`, which is looked at once a second, is more or None, that ends it, too. None: it does not.
        """
        ...

    def serving(self) -> bool:
        """Tell whether Kea serves: if an operator or a partner has told it not to, it drops what it receives."""
        ...

    def log(self, severity: Severity, identifier: str, text: str) -> None:
        """Write one message to Kea's log, under an identifier that was registered."""
        ...

    def log_enabled(self, severity: Severity) -> bool:
        """Tell whether messages of a severity are written: ask before composing one for a packet."""
        ...

    def count(self, counter: str, n: int = 1) -> None:
        """Add to a counter of hook/counters.def.

        Raises:
            ValueError: there is no such counter.
        """
        ...

    def register_messages(self, names: Mapping[str, str]) -> None:
        """Make log identifiers known to Kea. Only from within `start`: Kea's packet threads rest meanwhile.

        Args:
            names: identifier to explanation; the explanations are for the documentation.
        """
        ...

    def publish_status(self, json_text: str) -> None:
        """Set what the control command `subnet-deleg-status` reports as `service` until the next call.

        Raises:
            ValueError: the text is no JSON.
        """
        ...


# The members of deleg_inbound and deleg_outbound in hook/bridge.h, in their order, with C's own alignment. struct unpacks an array of
# them several times faster than cffi's member access.
_INBOUND: Final = struct.Struct("@IIiIIIHHd")
_OUTBOUND: Final = struct.Struct("@IIiIIHBx16s")

# What `deleg_ask` returns.
_ANSWERED: Final = 1
_REFUSED: Final = 0
_TIMED_OUT: Final = -1

# A message is at most what Kea reads from a socket, 1500 octets; a batch that does not fit is taken in two.
_BATCH_OCTETS: Final = 512 * 1024


class EmbeddedKea:
    """`Kea` inside kea-dhcp4. One object is one generation of the service: a load to the next unload."""

    def __init__(self, ffi: Any, lib: Any, generation: int) -> None:
        """Prepare the buffers.

        Args:
            ffi: cffi's `ffi` of the hook.
            lib: cffi's `lib` of the hook.
            generation: the number that C++ gave; `receive` ends when it is over.

        Raises:
            RuntimeError: the structures of hook/bridge.h and of this module differ, so the package and the hook are not of one build.
        """
        for name, layout in (("deleg_inbound", _INBOUND), ("deleg_outbound", _OUTBOUND)):
            if ffi.sizeof(name) != layout.size:
                raise RuntimeError(
                    f"{name} has {ffi.sizeof(name)} octets in the hook, {layout.size} here: install both anew"
                )
        self._ffi = ffi
        self._lib = lib
        self._generation = generation
        self._data = ffi.new("uint8_t[]", _BATCH_OCTETS)
        self._data_view = memoryview(ffi.buffer(self._data))
        self._descriptions = ffi.new("deleg_inbound[]", 1)
        self._receiving = threading.Lock()
        self._counters = {name: number for number, name in enumerate(counter_names(ffi, lib))}

    def receive(self, limit: int, timeout: float) -> list[Inbound] | None:
        """See `Kea.receive`."""
        with self._receiving:
            if len(self._descriptions) < limit:
                self._descriptions = self._ffi.new("deleg_inbound[]", limit)
            descriptions = self._descriptions
            taken = self._lib.deleg_receive(self._generation, descriptions, limit, self._data, _BATCH_OCTETS, timeout)
            if taken < 0:
                return None
            view = self._data_view
            return [
                Inbound(
                    view[offset : offset + length].tobytes(),
                    interface,
                    source,
                    source_port,
                    destination,
                    destination_port,
                    local_address,
                    received,
                )
                for (
                    offset,
                    length,
                    interface,
                    source,
                    destination,
                    local_address,
                    source_port,
                    destination_port,
                    received,
                ) in _INBOUND.iter_unpack(self._ffi.buffer(descriptions, taken * _INBOUND.size))
            ]

    def send(self, replies: Sequence[Outbound]) -> int:
        """See `Kea.send`."""
        if not replies:
            return 0
        descriptions = bytearray()
        offset = 0
        for data, interface, source, destination, destination_port, hardware in replies:
            descriptions += _OUTBOUND.pack(
                offset, len(data), interface, source, destination, destination_port, len(hardware), hardware
            )
            offset += len(data)
        messages = b"".join([reply.data for reply in replies])
        return int(
            self._lib.deleg_send(
                self._ffi.from_buffer("deleg_outbound[]", descriptions),
                len(replies),
                self._ffi.from_buffer("uint8_t[]", messages),
                len(messages),
            )
        )

    def ask(self, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        """See `Kea.ask`."""
        answer = self._ffi.new("char **")
        verdict = self._lib.deleg_ask(self._generation, json.dumps(request).encode(), timeout, answer)
        text = ""
        if answer[0] != self._ffi.NULL:
            text = self._ffi.string(answer[0]).decode(errors="backslashreplace")
            self._lib.deleg_free(answer[0])
        if verdict == _ANSWERED:
            result: dict[str, Any] = json.loads(text)
            return result
        if verdict == _REFUSED:
            raise KeaRefused(text)
        if verdict == _TIMED_OUT:
            raise KeaUnavailable(f"no answer within {timeout} s")
        raise KeaUnloads("the hook is being unloaded")

    def moved(self) -> int | None:
        """See `Kea.moved`."""
        addresses = int(self._lib.deleg_moved())
        return None if addresses < 0 else addresses

    def rest(self, descriptors: Sequence[int], timeout: float, tolerance: int | None = None) -> None:
        """See `Kea.rest`."""
        numbers = self._ffi.new("int[]", descriptors)
        self._lib.deleg_rest(numbers, len(descriptors), timeout, -1 if tolerance is None else tolerance)

    def serving(self) -> bool:
        """See `Kea.serving`."""
        return bool(self._lib.deleg_serving())

    def log(self, severity: Severity, identifier: str, text: str) -> None:
        """See `Kea.log`."""
        write_log(self._lib, severity, identifier, text)

    def log_enabled(self, severity: Severity) -> bool:
        """See `Kea.log_enabled`."""
        return bool(self._lib.deleg_log_enabled(severity))

    def count(self, counter: str, n: int = 1) -> None:
        """See `Kea.count`."""
        try:
            number = self._counters[counter]
        except KeyError:
            raise ValueError(f"no counter {counter!r}; there are {', '.join(self._counters)}") from None
        self._lib.deleg_count(number, n)

    def register_messages(self, names: Mapping[str, str]) -> None:
        """See `Kea.register_messages`."""
        identifiers = [self._ffi.new("char[]", name.encode()) for name in names]
        self._lib.deleg_register_messages(self._ffi.new("char *[]", identifiers), len(identifiers))

    def publish_status(self, json_text: str) -> None:
        """See `Kea.publish_status`."""
        if self._lib.deleg_publish_status(json_text.encode()) != 0:
            raise ValueError(f"status is no JSON: {json_text}")


def counter_names(ffi: Any, lib: Any) -> list[str]:
    """Return the names of hook/counters.def by number."""
    names: list[str] = []
    while (name := lib.deleg_counter_name(len(names))) != ffi.NULL:
        names.append(ffi.string(name).decode())
    return names


def write_log(lib: Any, severity: Severity, identifier: str, text: str) -> None:
    r"""Write one message to Kea's log; an octet zero, which would end the text, is shown as \\0."""
    lib.deleg_log(severity, identifier.encode(), text.replace("\0", "\\0").encode(errors="backslashreplace"))
