# SPDX-License-Identifier: MPL-2.0
"""The Python side of the bridge against the C declarations it stands on, and what C++ compiles out of hook/ without a running Kea."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import math
import shutil
import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cffi
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.runtime.bridge import EmbeddedKea, KeaRefused, KeaUnavailable, KeaUnloads, Severity

HOOK = Path(__file__).parents[2] / "hook"
COUNTERS = ["received", "exceptions"]
BROADCAST = 0xFFFFFFFF


def from_hook(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, HOOK / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ffi() -> cffi.FFI:
    emit = from_hook("emit_bridge")
    builder = cffi.FFI()
    builder.cdef("".join(emit.sections((HOOK / "bridge.h").read_text(encoding="utf-8"))))
    return builder


class Library:
    """The C functions of hook/bridge.h over values in memory; structures are written and read by cffi, member by member."""

    def __init__(self, ffi: cffi.FFI) -> None:
        self._ffi = ffi
        self._names = [ffi.new("char[]", name.encode()) for name in COUNTERS]
        self.waiting: list[Inbound] = []
        self.sent: list[Outbound] = []
        self.counts = [0] * len(COUNTERS)
        self.lines: list[tuple[int, bytes, bytes]] = []
        self.over = False
        self.asked: list[Any] = []
        self.verdict: tuple[int, bytes | None] = (1, b"{}")
        self.unfreed = 0

    def deleg_counter_name(self, index: int) -> Any:
        return self._names[index] if index < len(self._names) else self._ffi.NULL

    def deleg_count(self, counter: int, n: int) -> None:
        self.counts[counter] += n

    def deleg_receive(self, generation: int, packets: Any, limit: int, data: Any, size: int, timeout: float) -> int:
        assert generation == 7
        assert timeout == 0.25
        if self.over:
            return -1
        offset = 0
        taken = self.waiting[:limit]
        for number, packet in enumerate(taken):
            assert offset + len(packet.data) <= size
            self._ffi.memmove(data + offset, packet.data, len(packet.data))
            packets[number].offset, packets[number].length = offset, len(packet.data)
            for name in Inbound._fields[1:]:
                setattr(packets[number], name, getattr(packet, name))
            offset += len(packet.data)
        del self.waiting[:limit]
        return len(taken)

    def deleg_send(self, replies: Any, count: int, data: Any, size: int) -> int:
        octets = bytes(self._ffi.buffer(data, size))
        for number in range(count):
            one = replies[number]
            self.sent.append(
                Outbound(
                    octets[one.offset : one.offset + one.length],
                    one.interface,
                    one.source,
                    one.destination,
                    one.destination_port,
                    bytes(one.hardware)[: one.hardware_length],
                )
            )
        return count

    def deleg_ask(self, generation: int, request: bytes, timeout: float, answer: Any) -> int:
        assert generation == 7
        self.asked.append((json.loads(request), timeout))
        verdict, text = self.verdict
        if text is not None:
            self._text = self._ffi.new("char[]", text)
            answer[0] = self._text
            self.unfreed += 1
        return verdict

    def deleg_free(self, answer: Any) -> None:
        assert answer == self._text
        self.unfreed -= 1

    def deleg_log(self, severity: int, identifier: bytes, text: bytes) -> None:
        self.lines.append((severity, identifier, text))

    def deleg_publish_status(self, json_text: bytes) -> int:
        return 0 if json_text.startswith(b"{") else -1


@pytest.fixture
def library(ffi: cffi.FFI) -> Library:
    return Library(ffi)


@pytest.fixture
def kea(ffi: cffi.FFI, library: Library) -> EmbeddedKea:
    return EmbeddedKea(ffi, library, 7)


def packet(number: int) -> Inbound:
    return Inbound(
        bytes([number]) * (240 + number), number, 0x0A000001 + number, 67, BROADCAST, 67, 0x0AFFFFFE, 1.5 + number
    )


def test_packets_arrive_with_every_member(kea: EmbeddedKea, library: Library) -> None:
    packets = [packet(number) for number in range(5)]
    library.waiting = list(packets)
    assert kea.receive(3, 0.25) == packets[:3]
    assert kea.receive(100, 0.25) == packets[3:]
    assert kea.receive(100, 0.25) == []


def test_a_packet_outlives_the_buffer(kea: EmbeddedKea, library: Library) -> None:
    library.waiting = [packet(1)]
    first = kea.receive(1, 0.25)
    library.waiting = [packet(2)]
    kea.receive(1, 0.25)
    assert first == [packet(1)]


def test_the_end_of_a_generation_is_none(kea: EmbeddedKea, library: Library) -> None:
    library.over = True
    assert kea.receive(1, 0.25) is None


def test_replies_leave_with_every_member(kea: EmbeddedKea, library: Library) -> None:
    replies = [
        Outbound(b"a" * 300, 3, 0x0A000001, BROADCAST, 68, bytes.fromhex("020000000001")),
        Outbound(b"b" * 301, 4, 0xC0000201, 0xC0000202, 67, b""),
        Outbound(b"c" * 548, 5, 1, 2, 65535, bytes(range(1, 17))),
    ]
    assert kea.send(replies) == 3
    assert library.sent == replies
    assert kea.send([]) == 0


def test_an_answer_is_a_value(kea: EmbeddedKea, library: Library) -> None:
    library.verdict = (1, '{"subnets": {"167772416": {"assigned": 51}}, "text": "ü \\"x\\""}'.encode())
    assert kea.ask({"op": "usage", "ids": [167772416]}, 0.5) == {
        "subnets": {"167772416": {"assigned": 51}},
        "text": 'ü "x"',
    }
    assert library.asked == [({"op": "usage", "ids": [167772416]}, 0.5)]
    assert library.unfreed == 0


def test_no_answer_is_an_exception(kea: EmbeddedKea, library: Library) -> None:
    library.verdict = (0, b"there is no operation \xff")
    with pytest.raises(KeaRefused, match=r"there is no operation \\xff"):
        kea.ask({"op": "?"})
    assert library.unfreed == 0
    library.verdict = (-1, None)
    with pytest.raises(KeaUnavailable, match=r"no answer within 5.0 s"):
        kea.ask({"op": "addresses"})
    library.verdict = (-2, None)
    with pytest.raises(KeaUnloads, match="the hook is being unloaded"):
        kea.ask({"op": "addresses"})


def test_counters_go_by_name(kea: EmbeddedKea, library: Library) -> None:
    kea.count("exceptions")
    kea.count("received", 40)
    assert library.counts == [40, 1]
    with pytest.raises(ValueError, match="no counter 'recieved'; there are received, exceptions"):
        kea.count("recieved")


def test_text_for_the_log_is_never_cut_nor_refused(kea: EmbeddedKea, library: Library) -> None:
    kea.log(Severity.WARN, "SUBNET_DELEG_X", "name \0 \udcff ü")
    assert library.lines == [(2, b"SUBNET_DELEG_X", "name \\0 \\udcff ü".encode())]


def test_status_has_to_be_json(kea: EmbeddedKea) -> None:
    kea.publish_status("{}")
    with pytest.raises(ValueError, match="no JSON"):
        kea.publish_status("state")


def test_another_build_of_the_hook_is_refused(library: Library) -> None:
    other = cffi.FFI()
    other.cdef("typedef struct { int a; } deleg_inbound; typedef struct { int a; } deleg_outbound;")
    with pytest.raises(RuntimeError, match="deleg_inbound has 4 octets in the hook"):
        EmbeddedKea(other, library, 7)


# hook/option_scan.cc

COOKIE = bytes([99, 130, 83, 99])
ALLOCATION = bytes.fromhex("dc050001020018")


class Scan:
    """The functions of hook/option_scan.cc."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._carries, self._type = library.carries, library.type
        self._carries.restype, self._type.restype = ctypes.c_bool, ctypes.c_uint8
        self._carries.argtypes = self._type.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

    def __call__(self, message: bytes) -> bool:
        return bool(self._carries(message, len(message)))

    def type(self, message: bytes) -> int:
        return int(self._type(message, len(message)))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    compiler = shutil.which("c++")
    assert compiler, "install g++"
    target = tmp_path_factory.mktemp("scan") / "scan.so"
    glue = (
        f'#include "{HOOK}/option_scan.cc"\n'
        'extern "C" bool carries(const uint8_t* m, size_t n) { return subnet_deleg::carriesSubnetAllocation(m, n); }\n'
        'extern "C" uint8_t type(const uint8_t* m, size_t n) { return subnet_deleg::messageType(m, n); }\n'
    )
    flags = ["-std=c++17", "-shared", "-fPIC", "-fsanitize=bounds", "-fsanitize-undefined-trap-on-error"]
    subprocess.run([compiler, *flags, "-I", HOOK, "-x", "c++", "-", "-o", target], input=glue.encode(), check=True)
    return Scan(ctypes.CDLL(str(target)))


def message(options: bytes, *, sname: bytes = b"", file: bytes = b"", cookie: bytes = COOKIE) -> bytes:
    return bytes(44) + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + cookie + options


@pytest.mark.parametrize(
    "carried",
    [
        message(b"\x35\x01\x01" + ALLOCATION + b"\xff"),
        message(b"\0\0\0" + ALLOCATION),
        message(b"\xdc"),
        message(b"\xdc\x00\xff"),
        message(b"\xdc\xff\x00"),
        message(b"\x34\x01\x01\xff", file=b"\0" + ALLOCATION),
        message(b"\x34\x01\x02\xff", sname=ALLOCATION),
        message(b"\x34\x01\x03\xff", file=b"\xff", sname=ALLOCATION),
    ],
)
def test_option_220_is_found(scan: Scan, carried: bytes) -> None:
    assert scan(carried)


@pytest.mark.parametrize(
    "ordinary",
    [
        b"",
        bytes(240),
        message(b""),
        message(b"\x35\x01\x01\xff" + ALLOCATION),
        message(b"\x35\x01\xdc\xff"),
        message(b"\x0c\x03\xdc\xdc\xdc\xff"),
        message(b"\x0c\x7f" + ALLOCATION),
        message(b"\x35"),
        message(ALLOCATION, cookie=b"\0\0\0\0"),
        message(b"\xff", file=ALLOCATION, sname=ALLOCATION),
        message(b"\x34\x01\x01\xff", sname=ALLOCATION),
        message(b"\x34\x01\x02\xff", file=ALLOCATION),
        message(b"\x34\x02\x01\x01\xff", file=ALLOCATION),
        message(b"\x34\x01\x01\xff", file=b"\x34\x01\x02", sname=ALLOCATION),
    ],
)
def test_ordinary_messages_are_left_alone(scan: Scan, ordinary: bytes) -> None:
    assert not scan(ordinary)


def carries(options: bytes) -> bool:
    """Say the same as the C++ of one options field, as a walk over a list."""
    rest = list(options)
    while rest:
        code = rest.pop(0)
        if code == 220:
            return True
        if code == 255 or (code != 0 and (not rest or rest[0] >= len(rest))):
            return False
        if code != 0:
            del rest[: rest[0] + 1]
    return False


OCTETS = st.one_of(st.sampled_from([0, 1, 2, 12, 220, 255]), st.integers(0, 255).filter(lambda octet: octet != 52))


@given(st.lists(OCTETS, max_size=60).map(bytes))
@example(b"\x0c\x01\xdc\xdc")
def test_the_scan_walks_options_as_they_are_laid_out(scan: Scan, options: bytes) -> None:
    assert scan(message(options)) == carries(options)


@given(st.binary(max_size=1), st.integers(0, 255), OCTETS)
def test_the_type_of_a_message_is_found(scan: Scan, before: bytes, kind: int, padding: int) -> None:
    options = bytes((12, len(before))) + before + bytes((0, 0)) + bytes((53, 1, kind)) + bytes((padding,))
    assert scan.type(message(options)) == kind


@pytest.mark.parametrize(
    "without",
    [
        b"",
        bytes(240),
        message(b""),
        message(b"\x35"),
        message(b"\x35\x01"),
        message(b"\xff\x35\x01\x01"),
        message(b"\x35\x02\x01\x01"),
        message(b"\x0c\x05\x35\x01\x01"),
    ],
)
def test_a_message_without_a_type(scan: Scan, without: bytes) -> None:
    assert scan.type(without) == 0


# hook/desired.cc

GLUE = """
#include "desired.h"
using namespace subnet_deleg;
extern "C" void terms(uint32_t given, double end, uint32_t low, uint32_t usual, uint32_t high, double now, double* result) {
    Wanted wanted;
    if (given) {
        wanted.lifetime = given;
    }
    wanted.end = end;
    const Terms terms = termsOf(wanted, Lifetime(low, usual, high), now);
    result[0] = terms.open;
    result[1] = terms.lifetime.unspecified() ? -1.0 : terms.lifetime.getMin();
    result[2] = terms.lifetime.unspecified() ? -1.0 : terms.lifetime.get();
    result[3] = terms.lifetime.unspecified() ? -1.0 : terms.lifetime.getMax();
    result[4] = terms.changes;
}
"""
FOREVER = 0xFFFFFFFF


class Granted(NamedTuple):
    """What a subnet may grant at a moment, and until when; the lifetimes are -1 where they are the network's own."""

    open: bool
    low: int
    usual: int
    high: int
    changes: float


Terms = Callable[..., Granted]


@pytest.fixture(scope="module")
def terms(tmp_path_factory: pytest.TempPathFactory) -> Terms:
    target = tmp_path_factory.mktemp("terms") / "terms.so"
    sources = ["-x", "c++", str(HOOK / "desired.cc"), "-"]
    include = ["-I", str(HOOK), "-isystem", "/usr/include/kea"]
    libraries = ["-lkea-cc", "-lkea-exceptions"]
    command = ["c++", "-std=c++17", "-shared", "-fPIC", *include, *sources, "-o", str(target), *libraries]
    subprocess.run(command, input=GLUE.encode(), check=True)
    function = ctypes.CDLL(str(target)).terms
    seconds = ctypes.c_uint32
    function.argtypes = [seconds, ctypes.c_double, seconds, seconds, seconds, ctypes.c_double, ctypes.c_void_p]

    def call(remaining: float, inherited: tuple[int, int, int], given: int = 0, now: float = 1000.0) -> Granted:
        result = (ctypes.c_double * 5)()
        function(given, now + remaining, *inherited, now, result)
        opened, low, usual, high, changes = result
        return Granted(bool(opened), int(low), int(usual), int(high), changes - now)

    return call


LIFETIMES = st.tuples(*[st.integers(1, 100_000) | st.just(FOREVER)] * 3).map(sorted).map(tuple)


@given(st.floats(-10, 1e6), LIFETIMES, st.sampled_from([0, 60, 3600, FOREVER]))
def test_no_host_outlives_its_block(
    terms: Terms, remaining: float, inherited: tuple[int, int, int], given: int
) -> None:
    now = terms(remaining, inherited, given)
    assert now.open is (remaining >= 3)
    low, usual, high = (given, given, given) if given else inherited
    if not now.open:
        return
    longest = high if now.high < 0 else now.high
    late = 1.9  # seconds that Kea may look again later than it is to
    assert longest + now.changes + late <= remaining
    assert longest >= min(high, remaining - 3 - remaining / 64)
    if now.high >= 0:
        assert (now.low, now.usual, now.high) == (min(low, longest), min(usual, longest), longest)
    looks = 0
    while now.open and now.changes < 60:  # and it does not look all the time
        looks += 1
        remaining -= now.changes
        now = terms(remaining, inherited, given)
    # One a second at the end, in the last 128; before, at most 64 and a begun one for each doubling, up to steps of 32 s (4096 s).
    assert looks <= 128 + 5 * 65


def test_lifetimes_are_the_networks_own_while_the_end_is_far(terms: Terms) -> None:
    assert terms(math.inf, (300, 600, 900)) == (True, -1, -1, -1, math.inf)
    assert terms(math.inf, (300, 600, 900), 77) == (True, 77, 77, 77, math.inf)
    far = terms(10_000.0, (300, 600, 900))
    assert far[:4] == (True, -1, -1, -1)
    assert 8000 < far.changes < 9100


def test_lifetimes_end_two_seconds_before_the_block(terms: Terms) -> None:
    assert terms(60.5, (300, 600, 900))[:4] == (True, 58, 58, 58)
    assert terms(60.5, (10, 20, 900))[:4] == (True, 10, 20, 58)
    assert terms(3.0, (300, 600, 900))[:4] == (True, 1, 1, 1)
    assert terms(2.9, (300, 600, 900))[0] is False


# hook/bootstrap.py


@pytest.mark.parametrize(
    ("settings", "isolated"),
    [
        (None, False),
        ("home = /usr/bin\ninclude-system-site-packages = false\n", True),
        ("include-system-site-packages = TRUE\n", False),
    ],
)
def test_the_packages_of_the_system_are_seen_where_the_environment_sees_them(
    tmp_path: Path, settings: str | None, isolated: bool
) -> None:
    site_packages = tmp_path / "lib" / "python3" / "site-packages"
    site_packages.mkdir(parents=True)
    if settings is not None:
        (tmp_path / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    assert from_hook("bootstrap").is_isolated(site_packages) is isolated


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap = from_hook("bootstrap")
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr(bootstrap.site, "main", lambda: None)
    # A package that was imported already is found in any case; this process may have imported both.
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None if name == "cffi" else object())
    assert bootstrap.prepare(str(tmp_path)).startswith(f"not found in {tmp_path}: cffi; sys.path is")
