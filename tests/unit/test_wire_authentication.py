# SPDX-License-Identifier: MPL-2.0
"""Option 90 byte for byte (RFC 3118 sections 2 and 5.2, RFC 6704 section 3.1.2), and MACs made by hand beside ours."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kea_subnet_deleg.wire import (
    BOOTREPLY,
    HMAC_MD5,
    Authentication,
    AuthenticationKind,
    Message,
    MessageType,
    UnusableAuthentication,
    encode_message,
    reply,
    sign,
    verify,
)

NONCE = bytes.fromhex("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
SECRET = b"sixteen octets!!"

# Figure 3 and 4 of RFC 6704: protocol 3, algorithm 1, RDM 0, replay, type, value.
NONCE_OPTION = "03 01 00 00000000000004d2 01 0f1e2d3c4b5a69788796a5b4c3d2e1f0"
DIGEST_OPTION = "03 01 00 00000000000004d2 02 00000000000000000000000000000000"
# RFC 3118 section 5.2: protocol 1, algorithm 1, RDM 0, replay, and in the second the secret's ID and the MAC.
REQUEST_OPTION = "01 01 00 fedcba9876543210"
DELAYED_OPTION = "01 01 00 fedcba9876543210 0000002a 00000000000000000000000000000000"


def header(*, hops: int = 0, giaddr: str = "00000000") -> bytes:
    return bytes.fromhex(f"02 01 06 {hops:02x} 12345678 0000 0000 0a000005 00000000 00000000 {giaddr} 020000000001")


def message(options: str, *, sname: str = "", file: str = "", hops: int = 0, giaddr: str = "00000000") -> bytes:
    head = header(hops=hops, giaddr=giaddr).ljust(44, b"\0")
    names = bytes.fromhex(sname).ljust(64, b"\0") + bytes.fromhex(file).ljust(128, b"\0")
    return (head + names + bytes.fromhex("63825363" + options)).ljust(300, b"\0")


def mac(key: bytes, data: bytes) -> str:
    return hmac.new(key, data, "md5").hexdigest()


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        (NONCE_OPTION, Authentication(AuthenticationKind.NONCE, 1234, NONCE)),
        (DIGEST_OPTION, Authentication(AuthenticationKind.NONCE_DIGEST, 1234)),
        (REQUEST_OPTION, Authentication(AuthenticationKind.DELAYED_REQUEST, 0xFEDCBA9876543210)),
        (DELAYED_OPTION, Authentication(AuthenticationKind.DELAYED, 0xFEDCBA9876543210, secret_id=42)),
    ],
)
def test_figures_of_the_rfcs(octets: str, value: Authentication) -> None:
    assert value.encode() == bytes.fromhex(octets)
    assert Authentication.decode(bytes.fromhex(octets)) == value


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        ("", "0 octets"),
        ("03 01 00 000000000004d2", "10 octets"),
        ("00 00 00 0000000000000001 746f6b656e", "algorithm 0"),  # a configuration token, RFC 3118 section 4
        ("03 02 00 00000000000004d2 02" + "00" * 16, "algorithm 2"),
        ("03 01 01 00000000000004d2 02" + "00" * 16, "method 1"),
        ("02 01 00 00000000000004d2 02" + "00" * 16, "protocol 2"),
        ("03 01 00 00000000000004d2", "protocol 3 with 0"),
        ("03 01 00 00000000000004d2 03" + "00" * 16, "17 octets of information"),
        ("03 01 00 00000000000004d2 02" + "00" * 15, "16 octets of information"),
        ("01 01 00 00000000000004d2 0000002a" + "00" * 15, "19 octets of information"),
        ("01 01 00 00000000000004d2 0000002a" + "00" * 17, "21 octets of information"),
    ],
)
def test_what_is_not_spoken_here(octets: str, complaint: str) -> None:
    with pytest.raises(UnusableAuthentication, match=complaint):
        Authentication.decode(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (Authentication(AuthenticationKind.NONCE, -1, NONCE), "replay counter -1"),
        (Authentication(AuthenticationKind.NONCE, 2**64, NONCE), "replay counter 18446744073709551616"),
        (Authentication(AuthenticationKind.NONCE, 1, NONCE[1:]), "not 15"),
        (Authentication(AuthenticationKind.DELAYED, 1, NONCE + b"\0"), "not 17"),
        (Authentication(AuthenticationKind.DELAYED, 1, secret_id=2**32), "secret ID 4294967296"),
    ],
)
def test_what_fits_no_option(value: Authentication, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        value.encode()


def test_a_nonce_does_not_get_into_logs() -> None:
    assert NONCE.hex() not in repr(Authentication(AuthenticationKind.NONCE, 1, NONCE)).replace("\\x", "")
    assert "octets" not in repr(Authentication(AuthenticationKind.NONCE, 1, NONCE))


def test_in_a_message() -> None:
    assert Authentication.of(Message.decode(message("350105 ff"))) is None
    found = Authentication.of(Message.decode(message(f"350105 5a1c {NONCE_OPTION} ff")))
    assert found == Authentication(AuthenticationKind.NONCE, 1234, NONCE)
    with pytest.raises(UnusableAuthentication):
        Authentication.of(Message.decode(message("350105 5a03 030100 ff")))


def test_digest_of_a_forcerenew() -> None:
    """The HMAC is of the whole message, padding included, with its own place zero (RFC 6704 section 3.1.3)."""
    unsigned = message(f"350109 36040a000001 5a1c {DIGEST_OPTION} dc0b00020800 0a000100 180000 ff")
    signed = message(
        f"350109 36040a000001 5a1c {DIGEST_OPTION[:-32]} {mac(NONCE, unsigned)} dc0b00020800 0a000100 180000 ff"
    )
    assert sign(unsigned, NONCE) == signed
    assert verify(signed, NONCE)
    assert not verify(unsigned, NONCE)
    assert not verify(signed, SECRET)
    assert sign(signed, NONCE) == signed  # whatever was in its place


def test_delayed_authentication_leaves_out_what_relays_change() -> None:
    """Hops, giaddr (RFC 3118 section 5.3) and option 82 (section 3) don't count; all else does."""
    options = f"350105 36040a000001 5a1f {DELAYED_OPTION} 330400000e10"
    plain = message(options + "ff")
    made = mac(SECRET, plain)
    signed = options.replace("00" * 16, made)
    assert sign(plain, SECRET) == message(signed + "ff")
    relayed = message(options + "5206 0104deadbeef ff", hops=3, giaddr="0a000002")
    assert sign(relayed, SECRET) == message(signed + "5206 0104deadbeef ff", hops=3, giaddr="0a000002")
    assert verify(message(signed + "5206 0104deadbeef ff", hops=3, giaddr="0a000002"), SECRET)
    assert verify(message(signed + "5200 5206 0104deadbeef ff"), SECRET)
    assert not verify(message(signed + "5306 0104deadbeef ff"), SECRET)


def test_a_nonces_digest_survives_relays_too() -> None:
    """RFC 3118 section 3 says so of any hash function; dhcpcd, a client, computes it like this."""
    options = f"350109 5a1c {DIGEST_OPTION} ff"
    signed = options.replace("00" * 16, mac(NONCE, message(options)))
    assert sign(message(options, hops=1, giaddr="0a000002"), NONCE) == message(signed, hops=1, giaddr="0a000002")
    assert verify(message(signed, hops=2, giaddr="0a000003"), NONCE)


def test_option_82_before_others() -> None:
    """It is taken out where it is, and the order of the others stays."""
    options = f"350105 5206 0104deadbeef 5a1f {DELAYED_OPTION} 3d020133 ff"
    without = message(f"350105 5a1f {DELAYED_OPTION} 3d020133 ff")
    signed = options.replace("00" * 16, mac(SECRET, without))
    assert sign(message(options), SECRET) == message(signed)


@pytest.mark.parametrize("padded", [False, True])
def test_padding_that_a_relay_took_or_gave(padded: bool) -> None:
    """A client sends 300 octets or fewer; the relay adds option 82 within or after them."""
    options = f"350103 5a1f {DELAYED_OPTION}"
    sent = header().ljust(236, b"\0") + bytes.fromhex("63825363" + options + "ff")
    made = mac(SECRET, sent.ljust(300, b"\0") if padded else sent)
    received = header().ljust(236, b"\0") + bytes.fromhex("63825363" + options.replace("00" * 16, made))
    received += bytes.fromhex("5206 0104deadbeef ff")
    assert len(received) < 300
    assert verify(received, SECRET)
    assert verify(received.ljust(300, b"\0"), SECRET) == padded
    assert verify(received[:-9] + bytes.fromhex("5220 011e" + "ab" * 30 + "ff"), SECRET)  # above 300 with it


def test_a_long_message_has_no_padding_to_guess() -> None:
    filler = f"38ff {'61' * 255}"
    options = f"350105 {filler} 5a1f {DELAYED_OPTION}"
    sent = message(options + "ff")
    signed = options.replace(DELAYED_OPTION, DELAYED_OPTION.replace("00" * 16, mac(SECRET, sent)))
    assert len(sent) > 300
    assert verify(message(signed + "5206 0104deadbeef ff", giaddr="0a000002"), SECRET)


@pytest.mark.parametrize(
    "options",
    [
        # The octets of the option inside other options, before and after it.
        f"350109 2b1e 5a1c {DIGEST_OPTION} 5a1c {DIGEST_OPTION} ff",
        f"350109 5a1c {DIGEST_OPTION} 2b1e 5a1c {DIGEST_OPTION} ff",
        # PADs between options, and what looks like one after END.
        f"350109 0000 5a1c {DIGEST_OPTION} 00 ff 5a1c {DIGEST_OPTION}",
    ],
)
def test_the_option_is_found_as_an_option(options: str) -> None:
    unsigned = message(options)
    found = sign(unsigned, NONCE)
    assert Message.decode(found).options[90][-16:] == bytes.fromhex(mac(NONCE, unsigned))
    changed = [at for at in range(len(found)) if found[at] != unsigned[at]]
    assert changed[-1] - changed[0] < 16
    assert verify(found, NONCE)


@pytest.mark.parametrize(("overload", "field"), [("01", "file"), ("02", "sname"), ("03", "file"), ("03", "sname")])
def test_the_option_in_an_overloaded_field(overload: str, field: str) -> None:
    option = f"5a1c {DIGEST_OPTION} ff"
    sname, file = (option, "ff") if field == "sname" else ("ff", option)
    unsigned = message(f"350109 3401{overload} ff", sname=sname, file=file)
    signed = sign(unsigned, NONCE)
    assert Message.decode(signed).options[90][-16:] == bytes.fromhex(mac(NONCE, unsigned))
    assert verify(signed, NONCE)
    elsewhere = message("350109 ff", sname=option, file=option)  # names, not options: nothing says otherwise
    assert not verify(elsewhere, NONCE)


@pytest.mark.parametrize(
    "options",
    [
        "350109 ff",
        f"350105 5a1c {NONCE_OPTION} ff",  # the nonce itself, not a MAC
        f"350101 5a0b {REQUEST_OPTION} ff",
        f"350109 5a1c {DIGEST_OPTION} 5a1c {DIGEST_OPTION} ff",  # which?
        "350109 5a03 030100 ff",
        "350109 5a",
        f"350109 5aff {DIGEST_OPTION}",
        f"350109 ff 5a1c {DIGEST_OPTION}",
        f"350109 ff 00 5a1c {DIGEST_OPTION}",
    ],
)
def test_nothing_to_sign_or_verify(options: str) -> None:
    data = message(options)
    assert not verify(data, NONCE)
    with pytest.raises(ValueError, match="one option 90"):
        sign(data, NONCE)


def test_an_empty_key_is_nobodys() -> None:
    options = f"350109 5a1c {DIGEST_OPTION} ff"
    with pytest.raises(ValueError, match="key is empty"):
        sign(message(options), b"")
    assert not verify(message(options.replace("00" * 16, mac(b"", message(options)))), b"")


def test_an_ack_that_gives_a_nonce_and_an_offer_that_promises_one() -> None:
    discover = Message.decode(bytes((1,)) + message("350101 910101 3d0701020000000001 dc050001020018 ff")[1:])
    assert HMAC_MD5 in discover.forcerenew_nonce_algorithms
    offer = reply(discover, MessageType.OFFER, 0x0A000001, extra_options={145: bytes((HMAC_MD5,))})
    assert offer[240:] == bytes.fromhex("350102 36040a000001 3d0701020000000001 910101 ff").ljust(60, b"\0")
    nonce = Authentication(AuthenticationKind.NONCE, 1234, NONCE)
    ack = reply(discover, MessageType.ACK, 0x0A000001, extra_options={90: nonce.encode()})
    assert ack[240:] == bytes.fromhex(f"350105 36040a000001 3d0701020000000001 5a1c {NONCE_OPTION} ff").ljust(60, b"\0")


def test_nonce_algorithms() -> None:
    def algorithms(options: str) -> tuple[int, ...]:
        return Message.decode(message(options)).forcerenew_nonce_algorithms

    assert algorithms("350101 ff") == ()
    assert algorithms("350101 9100 ff") == ()
    assert algorithms("350101 910101 ff") == (1,)
    assert algorithms("350101 9103030201 ff") == (3, 2, 1)


KEYS = st.binary(min_size=1, max_size=80)
PLACEHOLDERS = st.builds(
    Authentication,
    st.sampled_from([AuthenticationKind.DELAYED, AuthenticationKind.NONCE_DIGEST]),
    st.integers(0, 2**64 - 1),
    secret_id=st.just(0),
)


@given(PLACEHOLDERS, KEYS, st.binary(max_size=300), st.binary(max_size=300), st.data())
def test_what_is_signed_verifies_and_nothing_else_does(
    placeholder: Authentication, key: bytes, before: bytes, after: bytes, draw: st.DataObject
) -> None:
    data = encode_message(
        op=BOOTREPLY,
        type=MessageType.FORCERENEW,
        xid=1,
        chaddr=bytes(6),
        options={43: before, 90: placeholder.encode(), 56: after},
    )
    signed = sign(data, key)
    assert verify(signed, key)
    found = Authentication.of(Message.decode(signed))
    assert found is not None
    assert (found.kind, found.replay) == (placeholder.kind, placeholder.replay)
    at = draw.draw(st.integers(0, len(signed) - 1).filter(lambda n: n != 3 and not 24 <= n < 28))
    other = draw.draw(st.integers(0, 255).filter(lambda octet: octet != signed[at]))
    assert not verify(signed[:at] + bytes((other,)) + signed[at + 1 :], key)


@pytest.mark.parametrize("key", [b"", NONCE])
@given(data=st.binary(max_size=700))
def test_any_octets(key: bytes, data: bytes) -> None:
    assert not verify(data, key)


@given(
    st.sampled_from(["350109", "350109 340101", "350109 340103"]),
    st.lists(st.integers(0, 255) | st.sampled_from([0, 52, 82, 90, 28, 255]), max_size=80).map(bytes),
)
def test_any_octets_around_the_option(start: str, octets: bytes) -> None:
    for order in (octets.hex() + f"5a1c {DIGEST_OPTION}", f"5a1c {DIGEST_OPTION}" + octets.hex()):
        data = message(f"{start} {order} ff", file=octets.hex())
        assert not verify(data, NONCE)
        try:
            signed = sign(data, NONCE)
        except ValueError:
            continue
        assert verify(signed, NONCE)


@given(st.binary(max_size=40))
def test_any_octets_as_option_90(value: bytes) -> None:
    try:
        read = Authentication.decode(value)
    except UnusableAuthentication:
        return
    assert read.encode() == value


def test_every_truncation() -> None:
    signed = sign(message(f"350109 5a1c {DIGEST_OPTION} ff"), NONCE)
    assert not any(verify(signed[:length], NONCE) for length in range(len(signed)))
