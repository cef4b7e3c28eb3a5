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


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A secret shared with a server that we ask: its number (secret ID), and 16 octets or more."""

    number: int
    key: bytes = field(repr=False)


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


class Credentials:
    """Signs what we send to servers that share a secret with us, and checks what these send. For one thread.

    Parameters
    ----------
    keys : mapping
        By the address of the server (host-order integer).
    replay : callable
        Returns the next replay detection value, each above the last, also after a restart.
    only : bool
        Whether nobody else is believed; else we do without with others.
    """

    def __init__(self, keys: Mapping[int, ServerKey], replay: Callable[[], int], *, only: bool = False) -> None:
        self._keys = dict(keys)
        self._only = only
        self._replay = replay
        self._last: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def to_ask(self, server: int) -> Authentication | None:
        """Return what a DISCOVER to a server asks for authentication by (RFC 3118 section 5.5.1); None where it has no secret."""
        if server not in self._keys:
            return None
        return Authentication(AuthenticationKind.DELAYED_REQUEST, self._replay())

    def to_sign(self, server: int) -> tuple[Authentication | None, bytes]:
        """Return option 90 and the key for anything else to a server; (None, b"") where it has no secret."""
        key = self._keys.get(server)
        if key is None:
            return None, b""
        return Authentication(AuthenticationKind.DELAYED, self._replay(), secret_id=key.number), key.key

    def speaker(self, message: Message, source: int) -> int:
        """Return as which server a message from `source` is to be signed: its server identifier, or where it came from."""
        named = message.server_identifier
        return named if named is not None and named in self._keys else source

    def share(self, server: int, other: int) -> bool:
        """Whether two servers have one secret of ours, and so are one domain to us."""
        return server in self._keys and self._keys[server] == self._keys.get(other)

    def fault(self, message: Message, data: bytes, source: int) -> str | None:
        """Return why a message from `source` is not to be believed, None if it is, or if its server needs no secret (RFC 3118 5.5)."""
        server = self.speaker(message, source)
        key = self._keys.get(server)
        if key is None:
            return "of a server that has no key here" if self._only else None
        try:
            given = Authentication.of(message)
        except UnusableAuthentication as error:
            return str(error)
        if (
            given is None
            or given.kind is not AuthenticationKind.DELAYED
            or given.secret_id != key.number
            or not verify(data, key.key)
        ):
            return f"not signed by key {key.number}"
        last = self._last.get(server, 0)
        self._last[server] = max(last, given.replay)
        # Equal is the same message once more: the second of an answer is of no use, that of a FORCERENEW would be.
        is_old = given.replay < last or (given.replay == last and message.type is MessageType.FORCERENEW)
        return f"a replay: counter {given.replay}, the last was {last}" if is_old else None


def can_use_nonce(message: Message) -> bool:
    """Whether a client says that it can check a FORCERENEW by a nonce (RFC 6704 section 3.1.1)."""
    return HMAC_MD5 in message.options.get(_FORCERENEW_NONCE_CAPABLE, b"")
