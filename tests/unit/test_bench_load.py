# SPDX-License-Identifier: MPL-2.0
"""The load generator of ci/bench: what it takes and what it calls wrong, which blocks it finds given twice, and how it renews."""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from bench.load import ACK, MORE, OFFER, PLAIN, Exchange, Fault, Generator, Holder, template, usage

HARDWARE = bytes((2, 0, 0, 0, 0, 1))
SERVER = bytes((127, 0, 0, 2))
CLIENT_FLAG = b"\0\2\x08\2"  # c: RFC 6656 4.2 wants it clear


def option(block: str, flags: bytes = PLAIN) -> bytes:
    network = IPv4Network(block)
    return flags + network.network_address.packed + bytes((network.prefixlen, 2, 0))


def answer(kind: int, allocation: bytes) -> bytes:
    options = bytes((54, 4)) + SERVER + bytes((51, 4, 0, 0, 1, 0, 220, len(allocation))) + allocation
    message = template(kind, bytes((127, 0, 0, 1)), options)
    message[0] = 2
    message[28:34] = message[246:252] = HARDWARE
    return bytes(message)


@pytest.fixture
def generator() -> Iterator[Generator]:
    made = Generator(["127.0.0.2"], "127.0.0.1", 26, 1, port=0)
    yield made
    made.close()


@pytest.mark.parametrize("flags", [PLAIN, MORE], ids=["plain", "more"])
@pytest.mark.parametrize("block", ["10.0.0.64/26", "10.0.0.96/27", "10.0.0.252/30"])
def test_flag_s_and_smaller_blocks_are_taken(generator: Generator, block: str, flags: bytes) -> None:
    offered = option(block, flags)
    assert generator.check(answer(OFFER, offered), Exchange(HARDWARE, 0.0))[:2] == (OFFER, offered)
    for acknowledged in (
        option(block, PLAIN),
        option(block, MORE),
    ):  # s may differ: it is of the message, not of the block
        waiting = Exchange(HARDWARE, 0.0, ACK, offered)
        assert generator.check(answer(ACK, acknowledged), waiting)[:2] == (ACK, acknowledged)


@pytest.mark.parametrize(
    "wrong",
    [
        option("10.0.0.0/25", MORE),
        option("10.0.0.4/31", MORE),
        option("10.0.0.64/26", CLIENT_FLAG),
        option("10.0.0.64/27")[:7] + b"\x50" + option("10.0.0.64/27")[8:],
    ],
    ids=["larger than asked", "beyond /30", "flag c", "host bits of the smaller block"],
)
def test_a_wrong_offer_is_noticed(generator: Generator, wrong: bytes) -> None:
    with pytest.raises(Fault):
        generator.check(answer(OFFER, wrong), Exchange(HARDWARE, 0.0))


@pytest.mark.parametrize("other", ["10.0.0.128/26", "10.0.0.64/27"], ids=["network", "length"])
def test_an_ack_with_other_blocks_is_noticed(generator: Generator, other: str) -> None:
    with pytest.raises(Fault, match="other blocks"):
        generator.check(answer(ACK, option(other)), Exchange(HARDWARE, 0.0, ACK, option("10.0.0.64/26", MORE)))


def test_what_was_given_is_counted(generator: Generator) -> None:
    for block, flags in (("10.0.0.0/26", MORE), ("10.0.0.64/27", PLAIN), ("10.0.0.96/28", MORE)):
        generator.take_note(option(block, flags))
    assert (generator.counts.smaller, generator.counts.more, generator.counts.overlaps) == (2, 2, 0)


def test_overlaps_are_found_by_range(generator: Generator) -> None:
    source = random.Random(220)
    given: list[IPv4Network] = []
    overlaps = 0
    for _ in range(400):
        length = source.randint(26, 30)
        first = source.getrandbits(14) >> 32 - length << 32 - length
        block = IPv4Network((0x0A000000 | first, length))
        overlaps += any(block.overlaps(other) for other in given)
        given.append(block)
        generator.take_note(option(str(block)))
        assert generator.counts.overlaps == overlaps
    assert 0 < overlaps < len(given)


# -- renewals


def test_each_report_differs_from_the_one_before_and_is_possible_in_a_26() -> None:
    reports = [usage(number) for number in range(2000)]
    assert all(before != after for before, after in itertools.pairwise(reports))
    assert all(in_use <= high_water and in_use + unusable < 64 for high_water, in_use, unusable in reports)


RENEWED = option("10.0.0.64/26")
LEASE_TIME = bytes((0, 0, 1, 0))


def renewing(lease_time: bytes = LEASE_TIME) -> Exchange:
    return Exchange(HARDWARE, 0.0, ACK, RENEWED, renews=Holder(HARDWARE, 0, RENEWED, lease_time))


def test_a_renewal_is_acknowledged(generator: Generator) -> None:
    assert generator.check(answer(ACK, RENEWED), renewing()) == (ACK, RENEWED, LEASE_TIME)


@pytest.mark.parametrize(
    ("data", "exchange"),
    [
        (answer(ACK, option("10.0.0.128/26")), renewing()),
        (answer(ACK, RENEWED[:9] + b"\3\0"), renewing()),
        (answer(ACK, RENEWED), renewing(bytes((0, 1, 0, 0)))),
        (answer(6, RENEWED), renewing()),
    ],
    ids=["other block", "deprecated", "other lease time", "NAK"],
)
def test_a_renewal_with_a_wrong_answer_is_noticed(generator: Generator, data: bytes, exchange: Exchange) -> None:
    with pytest.raises(Fault):
        generator.check(data, exchange)


class Server(threading.Thread):
    """Gives block after block, and confirms what is renewed unless `spoil` makes something else of the answer."""

    def __init__(self, address: str, spoil: Callable[[bytes], bytes] = bytes, given: Path | None = None) -> None:
        super().__init__(daemon=True)
        self.address, self.renewals = address, dict[str, tuple[int, int, int]]()
        self._spoil, self._given = spoil, dict[bytes, bytes]()
        for line in given.read_text().splitlines() if given else []:
            identity, block, _ = line.split()
            self._given[bytes.fromhex(identity)[1:]] = option(block)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 67))

    def run(self) -> None:
        while True:
            data, source = self._socket.recvfrom(2048)
            if len(data) < 240:  # enough
                self._socket.close()
                return
            self._socket.sendto(self._answer(data), source)

    def end(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", (self.address, 67))
        self.join()

    def _answer(self, data: bytes) -> bytes:
        hardware, kind = data[28:34], data[242]
        renewal = kind == 3 and data[252] == 220
        if kind == 1:
            number = 10 << 24 | socket.inet_aton(self.address)[3] << 20 | len(self._given) << 6
            self._given[hardware] = PLAIN + number.to_bytes(4, "big") + bytes((26, 2, 0))
        if renewal:
            assert data[254:258] == b"\0\2\x0e\0"
            assert data[258:265] == self._given[hardware][4:10] + b"\6"
            high_water, in_use, unusable = (int.from_bytes(data[at : at + 2], "big") for at in (265, 267, 269))
            self.renewals[data[246:252].hex()] = (high_water, in_use, unusable)
        else:
            assert kind == 1 or data[260:271] == self._given[hardware]
        allocation = self._given[hardware]
        options = (
            b"\x36\4" + socket.inet_aton(self.address) + b"\x33\4\0\1\0\0\xdc" + bytes((len(allocation),)) + allocation
        )
        message = template(OFFER if kind == 1 else ACK, data[24:28], options)
        message[0], message[4:8], message[28:34], message[246:252] = 2, data[4:8], hardware, hardware
        return self._spoil(bytes(message)) if renewal else bytes(message)


def address(number: int) -> str:
    """An address of the loopback network that no other run of these tests uses meanwhile: all bind port 67."""
    return f"127.{os.getpid() >> 8 & 0x7F | 0x80}.{os.getpid() & 255}.{number}"


def generate(servers: list[Server], *arguments: str) -> dict[str, Any]:
    """What load.py prints after it was run as the bench runs it, for a moment, against servers of our own."""
    for server in servers:
        server.start()
    addresses = ",".join(server.address for server in servers)
    command = [
        sys.executable,
        "bench/load.py",
        addresses,
        "127.0.0.1",
        "--warmup",
        "0.1",
        "--window",
        "0.5",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    for server in servers:
        server.end()
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """What 40 clients were given by a `Server`."""
    path = tmp_path / "held"
    result = generate([Server(address(2))], "--clients", "40", "--outstanding", "8", "--given", str(path))
    assert result["started"] == result["completed"] == 40
    return path


def test_renewals_come_in_turn_and_the_last_report_is_told(held: Path) -> None:
    server = Server(address(2), given=held)
    result = generate([server], "--renew", str(held), "--outstanding", "8")
    assert result["completed"] > 3 * 40
    assert result["faults"] == result["overlaps"] == result["unfinished"] == 0
    assert len(server.renewals) == len(result["sample"]) == 40
    assert {identity[2:]: tuple(told) for identity, _, told in result["sample"]} == server.renewals


def test_wrong_answers_to_renewals_are_counted(held: Path) -> None:
    def shortened(message: bytes) -> bytes:
        return message.replace(b"\x33\4\0\1\0\0", b"\x33\4\0\0\0\1")

    result = generate([Server(address(2), shortened, held)], "--renew", str(held), "--outstanding", "8")
    assert result["faults"] >= 8
    assert "option 51" in result["examples"][0]
    assert result["rate"] == 0


def test_several_servers_are_asked_in_turn_and_what_they_gave_is_written_down(tmp_path: Path) -> None:
    servers = [Server(address(2)), Server(address(3))]
    result = generate(servers, "--outstanding", "8", "--given", str(tmp_path / "given"))
    lines = (tmp_path / "given").read_text().splitlines()
    assert len(set(lines)) == result["completed"] > 8
    of_each = Counter(int(line.split(".")[1]) >> 4 for line in lines)
    assert set(of_each) == {2, 3}
    assert abs(of_each[2] - of_each[3]) <= 8  # those under way at the end
    assert result["faults"] == result["overlaps"] == 0
