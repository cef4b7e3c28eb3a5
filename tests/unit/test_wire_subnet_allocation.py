# SPDX-License-Identifier: MPL-2.0
"""Option 220 byte for byte (RFC 6656 sections 3 and 8), and the boundary of each of its rules."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Network

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kea_subnet_deleg.wire import (
    MalformedOption,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    SubnetRequest,
    Usage,
    encode_block,
)
from kea_subnet_deleg.wire.options import write_instances


def block(network: str, **fields: object) -> SubnetBlock:
    return SubnetBlock.of(IPv4Network(network), **fields)  # type: ignore[arg-type]


def informed(*blocks: SubnetBlock, client: bool = False, server: bool = False) -> SubnetAllocation:
    return SubnetAllocation(information=(SubnetInformation(blocks, client, server),))


VECTORS = {
    "discover one /24": (
        "dc 05 00 01 02 00 18",
        SubnetAllocation(requests=(SubnetRequest(24),)),
    ),
    "offer, request, ack, release 10.0.1.0/24": (
        "dc 0b 00 02 08 00 0a 00 01 00 18 00 00",
        informed(block("10.0.1.0/24")),
    ),
    "discover two /24": (
        "dc 09 00 01 02 00 18 01 02 00 18",
        SubnetAllocation(requests=(SubnetRequest(24), SubnetRequest(24))),
    ),
    "offer 10.0.2.0/24 and 10.0.3.0/28": (
        "dc 12 00 02 0f 00 0a 00 02 00 18 00 00 0a 00 03 00 1c 00 00",
        informed(block("10.0.2.0/24"), block("10.0.3.0/28")),
    ),
    "request, release 10.0.2.0/24": (
        "dc 0b 00 02 08 00 0a 00 02 00 18 00 00",
        informed(block("10.0.2.0/24")),
    ),
    "renew with statistics": (
        "dc 11 00 02 0e 00 0a 00 02 00 18 00 06 00 0a 00 07 00 02",
        informed(block("10.0.2.0/24", usage=Usage(high_water=10, in_use=7, unusable=2))),
    ),
    "ack, deprecate": (
        "dc 0b 00 02 08 00 0a 00 02 00 18 01 00",
        informed(block("10.0.2.0/24", deprecate=True)),
    ),
    "discover, what do I hold?": (
        "dc 05 00 01 02 02 00",
        SubnetAllocation(requests=(SubnetRequest(0, information=True),)),
    ),
    "offer answering that": (
        "dc 0b 00 02 08 02 0a 00 02 00 18 01 00",
        informed(block("10.0.2.0/24", deprecate=True), client=True),
    ),
    # The rest is not in RFC 6656 section 8: flags and suboptions that its examples leave out.
    "hierarchical is bit 0 of a request": (
        "dc 05 00 01 02 01 00",
        SubnetAllocation(requests=(SubnetRequest(0, hierarchical=True),)),
    ),
    "hierarchical is bit 1 of a block, server bit 0 of its suboption": (
        "dc 0b 00 02 08 01 ac 10 00 00 0c 02 00",
        informed(block("172.16.0.0/12", hierarchical=True), server=True),
    ),
    "name and suggested lease time": (
        "dc 13 00 01 02 01 1e 03 06 70 c3 b6 c3 b6 6c 04 04 00 01 51 80",
        SubnetAllocation((SubnetRequest(30, hierarchical=True),), name="pööl", suggested_lease_time=86400),
    ),
}


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def payload_of(text: str) -> bytes:
    data = octets(text)
    assert data[:2] == bytes((220, len(data) - 2)), "the vector itself is wrong"
    return data[2:]


def decode(*parts: str | bytes) -> SubnetAllocation:
    return SubnetAllocation.decode([octets(part) if isinstance(part, str) else part for part in parts])


@pytest.mark.parametrize(("text", "value"), VECTORS.values(), ids=VECTORS)
def test_vector_decodes(text: str, value: SubnetAllocation) -> None:
    assert decode(payload_of(text)) == value


@pytest.mark.parametrize(("text", "value"), VECTORS.values(), ids=VECTORS)
def test_vector_encodes(text: str, value: SubnetAllocation) -> None:
    assert value.encode() == payload_of(text)
    assert write_instances(220, value.encode_parts()) == octets(text)


# --- Subnet-Request ---


@pytest.mark.parametrize("prefix_length", range(256))
def test_requested_prefix_length(prefix_length: int) -> None:
    payload = bytes((0, 1, 2, 0, prefix_length))
    if prefix_length <= 30:
        assert decode(payload).requests == (SubnetRequest(prefix_length),)
    else:
        with pytest.raises(MalformedOption, match=rf"offset 4: requested prefix length {prefix_length}\b"):
            decode(payload)


def test_listing_ignores_the_prefix_length() -> None:
    """RFC 6656 section 3.1: with i set, Prefix "MUST be ignored by the Server"; a sender leaves it 0."""
    assert decode("00 0102 02ff").requests == (SubnetRequest(0, information=True),)
    assert SubnetAllocation((SubnetRequest(24, information=True),)).encode() == octets("00 0102 0200")


@pytest.mark.parametrize("text", ["00 0100", "00 0101 00", "00 0103 001800"])
def test_request_length(text: str) -> None:
    with pytest.raises(MalformedOption, match="offset 2: Subnet-Request length"):
        decode(text)


# --- flags ---


def test_undefined_flag_bits_are_ignored() -> None:
    assert decode("ff 0102 fc18") == SubnetAllocation((SubnetRequest(24),))
    assert decode("00 0208 fc 0a000100 18 fc 00") == informed(block("10.0.1.0/24"))
    assert decode("00 0208 ff 0a000100 18 ff 00") == informed(
        block("10.0.1.0/24", deprecate=True, hierarchical=True), client=True, server=True
    )


# --- Subnet-Information ---


@pytest.mark.parametrize("prefix_length", range(256))
def test_block_prefix_length(prefix_length: int) -> None:
    payload = octets("00 0208 00 00000000") + bytes((prefix_length, 0, 0))
    if 1 <= prefix_length <= 30:
        assert decode(payload) == informed(block(f"0.0.0.0/{prefix_length}"))
    else:
        with pytest.raises(MalformedOption, match=rf"offset 8: block prefix length {prefix_length}\b"):
            decode(payload)


@pytest.mark.parametrize("bit", range(32))
@pytest.mark.parametrize("prefix_length", [1, 8, 24, 29, 30])
def test_host_bits(bit: int, prefix_length: int) -> None:
    address = 1 << bit
    payload = octets("00 0208 00") + address.to_bytes(4, "big") + bytes((prefix_length, 0, 0))
    if bit >= 32 - prefix_length:
        assert decode(payload) == informed(SubnetBlock.of(IPv4Network((address, prefix_length))))
    else:
        with pytest.raises(MalformedOption, match=f"offset 4: network .*/{prefix_length} has host bits set"):
            decode(payload)


@pytest.mark.parametrize("length", range(8))
def test_information_shorter_than_a_block(length: int) -> None:
    with pytest.raises(MalformedOption, match=f"offset 2: Subnet-Information length {length}, must be 8 or more"):
        decode(bytes((0, 2, length)) + octets("00 0a000100 18 00 00")[:length])


@pytest.mark.parametrize("extra", range(1, 7))
def test_blocks_fill_their_suboption_exactly(extra: int) -> None:
    with pytest.raises(MalformedOption, match=f"offset 11: {extra} octets left in Subnet-Information"):
        decode(bytes((0, 2, 8 + extra)) + octets("00 0a000100 18 00 00") + octets("0a000200 18 00 00")[:extra])


def test_statistics_run_over_the_suboption() -> None:
    with pytest.raises(MalformedOption, match="offset 10: block announces 1 octets of statistics, but only 0 are left"):
        decode("00 0208 00 0a000100 18 00 01")
    with pytest.raises(MalformedOption, match="announces 6 octets of statistics, but only 5 are left"):
        decode("00 020d 00 0a000100 18 00 06 000a000700")


STATISTICS = {
    0: None,
    1: Usage(),
    2: Usage(10),
    3: Usage(10),
    4: Usage(10, 7),
    5: Usage(10, 7),
    6: Usage(10, 7, 2),
    7: Usage(10, 7, 2),
    8: Usage(10, 7, 2),
    9: Usage(10, 7, 2),
    247: Usage(10, 7, 2),
}


@pytest.mark.parametrize(("length", "usage"), STATISTICS.items(), ids=map(str, STATISTICS))
def test_statistics_of_any_length(length: int, usage: Usage | None) -> None:
    statistics = octets("000a 0007 0002").ljust(length, b"\xab")[:length]
    payload = bytes((0, 2, 8 + length)) + octets("00 0a000100 18 00") + bytes((length,)) + statistics
    assert decode(payload) == informed(block("10.0.1.0/24", usage=usage))


def test_a_block_is_found_after_long_statistics() -> None:
    payload = octets("00 0216 00 0a000100 18 00 07 000affff0002aa 0a000200 18 02 00")
    assert decode(payload) == informed(
        block("10.0.1.0/24", usage=Usage(10, None, 2)), block("10.0.2.0/24", hierarchical=True)
    )


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (Usage(), "ffff ffff ffff"),
        (Usage(in_use=3), "ffff 0003 ffff"),
        (Usage(65533, 65534, 65535), "fffd fffe fffe"),
        (Usage(65536, 2**31, 0), "fffe fffe 0000"),
    ],
)
def test_counts_are_clamped_and_never_wrap(usage: Usage, text: str) -> None:
    assert informed(block("10.0.0.0/8", usage=usage)).encode()[-6:] == octets(text)


# --- Subnet-Name, Suggested-Lease-Time ---


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("00 0301 61", "a"),
        ("00 0302 6100", "a"),  # terminated against section 3.3: the name is meant
        ("00 0304 61000000", "a"),
        ("00 0303 e282ac", "\N{EURO SIGN}"),
    ],
)
def test_name(text: str, name: str) -> None:
    assert decode(text) == SubnetAllocation(name=name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("00 0300", "offset 2: Subnet-Name is empty"),
        ("00 0301 00", "offset 2: Subnet-Name is empty"),
        ("00 0303 610062", "offset 4: Subnet-Name has a NUL inside"),
        ("00 0302 00 61", "offset 3: Subnet-Name has a NUL inside"),
        ("00 0302 61ff", "offset 4: Subnet-Name is not UTF-8"),
        ("00 0302 e282", "offset 3: Subnet-Name is not UTF-8"),
        ("00 0302 c080", "not UTF-8"),  # an overlong NUL
        ("00 0303 eda080", "not UTF-8"),  # a surrogate
        ("00 0301 61 0301 62", "offset 6: a second Subnet-Name, 'b' after 'a'"),
    ],
)
def test_name_refused(text: str, message: str) -> None:
    with pytest.raises(MalformedOption, match=message):
        decode(text)


def test_name_repeated_is_one_name() -> None:
    assert decode("00 0301 61 0301 61").name == "a"
    assert decode("00 0301 61 0102 0018", "00 0301 61 0102 0019").name == "a"


def test_of_options_with_different_names_the_first_counts() -> None:
    """RFC 6656 4.1: one message may have several options. What the others ask for can be asked for again."""
    one, other = "00 0102 0018 0301 61", "00 0102 001a 0301 62"
    for parts, lengths in (
        ((one, other), [24]),
        ((one, other, "00 0102 001c 0301 61"), [24, 28]),
        (("00 0102 0014", one, other), [20, 24]),
        ((one, other, "00 0102 001e"), [24, 30]),
        (("00 0301 62", one), [24]),  # nothing is requested under that
    ):
        allocation = decode(*parts)
        assert allocation.name == "a"
        assert [request.prefix_length for request in allocation.requests] == lengths


def test_name_of_255_octets() -> None:
    allocation = SubnetAllocation(name="n" * 255)
    assert SubnetAllocation.decode(allocation.encode_parts()) == allocation
    assert list(map(len, allocation.encode_parts())) == [255, 3]


@pytest.mark.parametrize("seconds", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_suggested_lease_time(seconds: int) -> None:
    payload = octets("00 0404") + seconds.to_bytes(4, "big")
    assert decode(payload) == SubnetAllocation(suggested_lease_time=seconds)
    assert SubnetAllocation(suggested_lease_time=seconds).encode() == payload


@pytest.mark.parametrize("length", [0, 1, 3, 5, 8])
def test_suggested_lease_time_length(length: int) -> None:
    with pytest.raises(MalformedOption, match=f"offset 2: Suggested-Lease-Time length {length}, must be 4"):
        decode(bytes((0, 4, length)) + bytes(length))


def test_suggested_lease_time_appears_once() -> None:
    with pytest.raises(MalformedOption, match="offset 7: a second Suggested-Lease-Time"):
        decode("00 0404 00000001 0404 00000001")
    with pytest.raises(MalformedOption, match="a second Suggested-Lease-Time"):
        decode("00 0404 00000001", "00 0404 00000001")


# --- the option as a whole ---


@pytest.mark.parametrize("code", [0, *range(5, 256)])
def test_unknown_suboptions_are_skipped(code: int) -> None:
    assert decode(bytes((0, code, 0, 1, 2, 0, 24, code, 3, 1, 2, 3))) == SubnetAllocation((SubnetRequest(24),))


def test_nothing_but_unknown_suboptions() -> None:
    assert decode("00 0902 0102") == SubnetAllocation()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "offset 0: the option is 0 octets long"),
        ("00", "offset 0: the option is 1 octets long"),
        ("00 01", "offset 1: suboption 1 has no length octet"),
        ("00 0102 00", "offset 1: suboption 1 announces 2 octets, but only 1 are left"),
        ("00 0102 0018 09", "offset 5: suboption 9 has no length octet"),
        ("00 0102 0018 0902 00", "offset 5: suboption 9 announces 2 octets"),
        ("00 02ff 00 0a000100 18 00 00", "offset 1: suboption 2 announces 255 octets, but only 8 are left"),
    ],
)
def test_suboptions_fill_the_option_exactly(text: str, message: str) -> None:
    with pytest.raises(MalformedOption, match=message):
        decode(text)


def test_no_part_at_all() -> None:
    with pytest.raises(MalformedOption, match="no option 220"):
        decode()


def test_a_fault_anywhere_spoils_the_whole_option() -> None:
    with pytest.raises(MalformedOption, match="offset 8: requested prefix length 31"):
        decode("00 0102 0018 0102 001f")
    with pytest.raises(MalformedOption, match="offset 4: requested prefix length 31"):
        decode("00 0102 0018", "00 0102 001f")


@pytest.mark.parametrize(
    ("allocation", "message"),
    [
        (SubnetAllocation(), "at least one suboption"),
        (SubnetAllocation((SubnetRequest(31),)), "requested prefix length 31"),
        (SubnetAllocation((SubnetRequest(-1),)), "requested prefix length -1"),
        (informed(), "at least one block"),
        (informed(block("10.0.0.0/31")), r"10\.0\.0\.0/31: prefix length must be 1 to 30"),
        (informed(block("0.0.0.0/0")), "prefix length must be 1 to 30"),
        (informed(*[block("10.0.0.0/24")] * 37), "37 blocks takes 260 octets"),
        (informed(block("10.0.0.0/24", usage=Usage(-1))), "usage count -1"),
        (SubnetAllocation(name=""), "Subnet-Name ''"),
        (SubnetAllocation(name="a\0b"), "without NUL"),
        (SubnetAllocation(name="\N{EURO SIGN}" * 86), "must be 1 to 255 octets"),
        (SubnetAllocation(suggested_lease_time=-1), "Suggested-Lease-Time -1"),
        (SubnetAllocation(suggested_lease_time=2**32), "Suggested-Lease-Time 4294967296"),
    ],
)
def test_what_cannot_be_sent(allocation: SubnetAllocation, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allocation.encode()


# --- several instances: RFC 6656 section 4.1 and RFC 3396 ---


def test_instances_with_flags_of_their_own() -> None:
    assert decode("00 0102 0018", "00 0102 0119") == SubnetAllocation(
        (SubnetRequest(24), SubnetRequest(25, hierarchical=True))
    )
    assert decode("00 0102 0018", "00 0208 00 0a000100 18 00 00") == SubnetAllocation(
        (SubnetRequest(24),), informed(block("10.0.1.0/24")).information
    )


def test_instances_with_undefined_flags_of_their_own() -> None:
    assert decode("80 0102 0018", "80 0102 0019").requests == (SubnetRequest(24), SubnetRequest(25))


def test_a_whole_instance_beside_a_split_one() -> None:
    assert decode("00 0102 0018", "00 0102", "0019") == SubnetAllocation((SubnetRequest(24), SubnetRequest(25)))
    assert decode("00 01", "02 0018") == SubnetAllocation((SubnetRequest(24),))


def test_an_instance_that_stays_short() -> None:
    for parts in (("00 0102 0018", "00"), ("00 0102 0018", "00 01"), ("00", "00"), ("", "")):
        with pytest.raises(MalformedOption):
            decode(*parts)


def test_a_split_between_suboptions_is_not_read_as_another_option() -> None:
    """Alone, the second piece reads as unknown suboptions; it begins with a code where flags would be 0."""
    assert decode("03 05 04 61626364") == SubnetAllocation()
    assert decode("00 0102 0018", "03 05 04 61626364") == SubnetAllocation((SubnetRequest(24),), name="\4abcd")


prefix_lengths = st.integers(1, 30)
counts = st.none() | st.integers(0, 65534)
usages = st.none() | st.builds(Usage, counts, counts, counts)
networks = st.builds(
    lambda address, length: IPv4Network((address >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    prefix_lengths,
)
blocks = st.builds(SubnetBlock.of, networks, st.booleans(), st.booleans(), usages)
requests = st.builds(SubnetRequest, st.just(0) | prefix_lengths, st.booleans()) | st.builds(
    SubnetRequest, st.just(0), st.booleans(), st.just(True)
)
information = st.builds(
    SubnetInformation, st.lists(blocks, min_size=1, max_size=10).map(tuple), st.booleans(), st.booleans()
)
names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60)
allocations = st.builds(
    SubnetAllocation,
    st.lists(requests, max_size=12).map(tuple),
    st.lists(information, max_size=4).map(tuple),
    st.none() | names,
    st.none() | st.integers(0, 2**32 - 1),
).filter(lambda allocation: allocation != SubnetAllocation())


@given(allocations)
def test_round_trip(allocation: SubnetAllocation) -> None:
    """However many instances it takes; a receiver that joins first (RFC 3396) reads what was meant, too."""
    payload, parts = allocation.encode(), allocation.encode_parts()
    assert SubnetAllocation.decode([payload]) == allocation
    assert SubnetAllocation.decode(parts) == allocation
    assert b"".join(parts) == payload
    assert all(len(part) <= 255 for part in parts)


@given(allocations, st.data())
def test_any_split_is_read_as_it_was_meant(allocation: SubnetAllocation, data: st.DataObject) -> None:
    """Other senders cut wherever RFC 3396 lets them, between suboptions too, and leave empty pieces."""
    payload = allocation.encode()
    cuts = data.draw(st.lists(st.integers(0, len(payload)), max_size=6).map(sorted))
    parts = [payload[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(payload)])]
    assert SubnetAllocation.decode(parts) == allocation


@settings(max_examples=50)
@given(st.lists(allocations, min_size=2, max_size=3))
def test_any_whole_options_are_read_each_on_its_own(several: list[SubnetAllocation]) -> None:
    one_name, one_time = several[0].name, several[0].suggested_lease_time
    parts = []
    for at, allocation in enumerate(several):
        kept = SubnetAllocation(allocation.requests, allocation.information, one_name, None if at else one_time)
        if kept != SubnetAllocation():
            parts.append(kept.encode())
    if not parts:
        return
    assert SubnetAllocation.decode(parts) == SubnetAllocation(
        tuple(itertools.chain.from_iterable(a.requests for a in several)),
        tuple(itertools.chain.from_iterable(a.information for a in several)),
        one_name,
        one_time,
    )


def is_readable(part: bytes) -> bool:
    try:
        SubnetAllocation.decode([part])
    except MalformedOption:
        return False
    return True


def full(count: int) -> SubnetAllocation:
    """As many blocks as suboptions hold, `count` times, a /24 each."""
    tops = [[SubnetBlock.of(IPv4Network((10 << 24 | at << 16 | n << 8, 24))) for n in range(36)] for at in range(count)]
    return SubnetAllocation(information=tuple(SubnetInformation(tuple(top)) for top in tops))


@given(allocations)
@example(full(1))
@example(full(2))
@example(full(9))
@example(SubnetAllocation((SubnetRequest(24),) * 63))  # 253 octets
@example(SubnetAllocation((SubnetRequest(24),) * 64))  # 257: a cut at 253 would fall between suboptions
@example(SubnetAllocation((SubnetRequest(30, hierarchical=True),) * 600))
@example(SubnetAllocation((SubnetRequest(9),) * 600))
def test_no_piece_of_a_split_reads_as_an_option(allocation: SubnetAllocation) -> None:
    """A receiver that reads each instance alone sees that it can't, and finds no other subnet in any piece."""
    parts = allocation.encode_parts()
    if len(parts) > 1:
        assert not any(map(is_readable, parts))
        assert not any(is_readable(b"".join(parts[:count])) for count in range(1, len(parts)))
        assert SubnetAllocation.decode(parts) == allocation


def test_a_name_made_to_be_read_from_anywhere_is_still_split() -> None:
    """Each octet of this name is the length that makes an unknown suboption end with the name: two pieces can't do."""
    end = 270  # of the name, in the payload
    lengths = [127 if at < 135 else min(end - at - 1, 100) if at < 142 else end - at - 1 for at in range(15, 269)]
    allocation = SubnetAllocation((SubnetRequest(24),) * 3, (), bytes([*lengths, 1]).decode(), 3600)
    payload = allocation.encode()
    assert all(is_readable(payload[cut:]) for cut in range(21, 256))
    parts = allocation.encode_parts()
    assert len(parts) > 2
    assert not any(map(is_readable, parts))
    assert SubnetAllocation.decode(parts) == allocation


@pytest.mark.parametrize("length", [1, 2, 3, 254, 255, 256, 257, 258])
def test_payload_lengths_around_the_limit(length: int) -> None:
    """One instance up to 255 octets, two above."""
    name = "x" * (length % 4 or 4)
    allocation = SubnetAllocation((SubnetRequest(24),) * ((length - 3 - len(name)) // 4 or 1), name=name)
    parts = allocation.encode_parts()
    assert len(parts) == (1 if len(allocation.encode()) <= 255 else 2)
    assert SubnetAllocation.decode(parts) == allocation


def test_many_tiny_instances_take_linear_time() -> None:
    """Each join ends in the middle of a suboption: reading again from the start each time would take minutes."""
    count = 20_000
    parts = [octets("00 09 01")] + [octets("00 09 01")] * count + [b"\0"]
    assert SubnetAllocation.decode(parts) == SubnetAllocation()


@given(
    st.integers(1, 30).flatmap(lambda length: st.tuples(st.integers(0, (1 << length) - 1), st.just(length))),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_one_block_is_the_same_as_an_allocation_of_one_block(
    prefix: tuple[int, int], flags: tuple[bool, bool, bool]
) -> None:
    number, length = prefix
    hierarchical, deprecate, more = flags
    network = number << 32 - length
    one = informed(SubnetBlock(network, length, deprecate, hierarchical), server=more)
    assert encode_block(network, length, hierarchical, deprecate, more) == one.encode()


@pytest.mark.parametrize("length", [0, 31])
def test_no_block_of_such_a_length(length: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to 30"):
        encode_block(0, length, True, False, False)
