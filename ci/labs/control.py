# SPDX-License-Identifier: MPL-2.0
"""Kea's control channel: one JSON command and its answer over a unix socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATIENCE = 30.0  # seconds for an answer: a config-reload under load takes its time


class CommandError(RuntimeError):
    """A command was answered with another result than success; the text is Kea's."""


def exchange(path: Path, command: str, arguments: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Send one command to the socket at `path` and return the whole answer, whatever its result.

    Raises `OSError` where no server listens there, `ValueError` where the answer is no JSON.
    """
    request = {"command": command, **({} if arguments is None else {"arguments": arguments})}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(PATIENCE)
        channel.connect(str(path))
        channel.sendall(json.dumps(request).encode())
        received = bytearray()
        while chunk := channel.recv(65536):
            received += chunk
    answer: dict[str, Any] = json.loads(received)
    return answer


def command(path: Path, name: str, arguments: Mapping[str, object] | None = None) -> Any:
    """As `exchange`, but return the answer's arguments alone (or its text).

    Raises `CommandError` unless the command succeeded.
    """
    answer = exchange(path, name, arguments)
    if answer.get("result") != 0:
        raise CommandError(f"{name}: {answer.get('text', answer)}")
    return answer.get("arguments", answer.get("text"))
