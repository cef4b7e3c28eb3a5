# SPDX-License-Identifier: MPL-2.0
"""Who speaks: delayed authentication by configured keys (RFC 3118), and nonces for FORCERENEW (RFC 6704)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kea_subnet_deleg.wire import Message, MessageType, Option
from kea_subnet_deleg.wire.authentication import (
    HMAC_MD5,
    Authentication,
    AuthenticationKind,
    UnusableAuthentication,
    sign,
    verify,
)

_AUTHENTICATION: Final = int(Option.AUTHENTICATION)
_FORCERENEW_NONCE_CAPABLE: Final = int(Option.FORCERENEW_NONCE_CAPABLE)


@dataclass(frozen=True, slots=True)
class AuthenticationKey:
    """A secret shared with one client: its number (secret ID), 16 octets or more, and the client identifier."""

    number: int
    key: bytes = field(repr=False)
    client_id: bytes


class ReplayCounter:
    """The replay detection values of one server: microseconds of the clock, each above the last even where that is set back."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> int:
        """Return the next value."""
        with self._lock:
            self._last = max(self._last + 1, self._clock() // 1000)
            return self._last


class Authenticator:
    """Checks what clients with a key send, and signs what they are sent.

    Parameters
    ----------
    keys : iterable of AuthenticationKey
        One for each client that must authenticate itself; the others need not.
    replay : callable
        Returns the next replay detection value, each above the last, also after a restart.
    """

    def __init__(self, keys: Iterable[AuthenticationKey], replay: Callable[[], int]) -> None:
        self._keys: Mapping[bytes, AuthenticationKey] = {key.client_id: key for key in keys}
        self._replay = replay
        self._last: dict[bytes, int] = {}
        self._lock = threading.Lock()  # several workers ask

    @property
    def clients(self) -> Iterable[bytes]:
        """The client identifiers that have a key."""
        return self._keys.keys()

    def fault(self, message: Message, data: bytes, *, again: bool = False) -> str | None:
        """Return why a message is not to be believed, None if it is (RFC 3118 section 5.6).

        A client with a key must ask for delayed authentication in a DISCOVER and sign all else, each time with a higher counter.
        `again`: it was believed before, and kept meanwhile: what came later is no reason to think it a replay.
        """
        key = self._keys.get(message.client_identifier)
        if key is None and not self._keys:
            return None
        try:
            given = Authentication.of(message)
        except UnusableAuthentication as error:
            return None if key is None else str(error)
        if key is None:
            # It need not authenticate itself. What it says under a key that is not known we MUST discard (section 5.6.3).
            if given is None or given.kind is not AuthenticationKind.DELAYED:
                return None
            return f"the authentication is by key {given.secret_id}, which this client does not have"
        if given is None:
            return "no authentication, though the client has a key"
        if given.kind is AuthenticationKind.DELAYED_REQUEST:
            return None if message.type is MessageType.DISCOVER else "asks for authentication where it has to give it"
        if given.kind is not AuthenticationKind.DELAYED or given.secret_id != key.number or not verify(data, key.key):
            return f"the authentication is not by key {key.number}"
        if again:
            return None
        with self._lock:
            last = self._last.get(key.client_id, 0)
            # Equal is the same message once more: a retransmission, or a relay's second copy.
            self._last[key.client_id] = max(last, given.replay)
        return f"a replay: counter {given.replay}, the last was {last}" if given.replay < last else None

    def options(self, message: Message, nonce: bytes | None) -> dict[int, bytes]:
        """Return option 90 for the reply to `message`: room for a MAC by the client's key, else the nonce if there is one."""
        key = self._keys.get(message.client_identifier)
        if key is not None:
            return {
                _AUTHENTICATION: Authentication(
                    AuthenticationKind.DELAYED, self._replay(), secret_id=key.number
                ).encode()
            }
        if nonce is not None:
            return {_AUTHENTICATION: Authentication(AuthenticationKind.NONCE, self._replay(), nonce).encode()}
        return {}

    def sign(self, message: Message, data: bytes) -> bytes:
        """Return the reply to `message` with its MAC, unchanged where the client has no key."""
        key = self._keys.get(message.client_identifier)
        return data if key is None else sign(data, key.key)

    def for_forcerenew(self, client_id: bytes, nonce: bytes | None, replay: int) -> tuple[Authentication | None, bytes]:
        """Return option 90 and the key for a FORCERENEW to a client; (None, b"") where it could not check one."""
        key = self._keys.get(client_id)
        if key is not None:
            return Authentication(AuthenticationKind.DELAYED, replay, secret_id=key.number), key.key
        if nonce is not None:
            return Authentication(AuthenticationKind.NONCE_DIGEST, replay), nonce
        return None, b""


def can_use_nonce(message: Message) -> bool:
    """Whether a client says that it can check a FORCERENEW by a nonce (RFC 6704 section 3.1.1)."""
    return HMAC_MD5 in message.options.get(_FORCERENEW_NONCE_CAPABLE, b"")
