# SPDX-License-Identifier: MPL-2.0
"""What python_hook.cc calls for each packet: look for option 220, in plain Python and no slower than it has to be."""


def receive(data: bytes) -> bool:
    """Whether a DHCPv4 message has option 220 (RFC 2132 2: code, length, value; 0 is padding, 255 the end)."""
    at, end = 240, len(data)
    while at < end:
        code = data[at]
        if code == 220:
            return True
        if code == 255:
            return False
        at += 1 if code == 0 else 2 + data[at + 1]
    return False
