# SPDX-License-Identifier: MPL-2.0
"""The functions of hook/bridge.h that C++ calls. Importable inside kea-dhcp4 only, where the module `_kea_subnet_deleg` is built in.

They are called from Kea's main thread, and catch every exception: it is logged with its traceback and counted, and C++ gets -1.
`service` is imported by each of them, not at the top, so that a package that can't be imported is a logged refusal like any other.
"""

import traceback
from collections.abc import Callable
from typing import Any, Final

from _kea_subnet_deleg import ffi, lib

from kea_subnet_deleg.runtime.bridge import EmbeddedKea, Severity, counter_names, write_log

FAILED: Final = -1
_EXCEPTIONS: Final = counter_names(ffi, lib).index("exceptions")


def _guarded(action: Callable[[], int]) -> int:
    """Return what the action returns, or FAILED with its exception logged and counted."""
    try:
        return action()
    except BaseException:  # a SystemExit must not get out either
        lib.deleg_count(_EXCEPTIONS, 1)
        write_log(lib, Severity.ERROR, "SUBNET_DELEG_EXCEPTION", traceback.format_exc().rstrip())
        return FAILED


def _write_message(text: str, message: Any, size: int) -> None:
    """Put a text into a C buffer of `size` octets, cut between two characters if it is too long."""
    encoded = text.encode(errors="backslashreplace")[: size - 1].decode(errors="ignore").encode()
    ffi.memmove(message, encoded + b"\0", len(encoded) + 1)


@ffi.def_extern(error=FAILED)  # type: ignore[untyped-decorator]
def deleg_python_configure(parameters_json: Any, message: Any, size: int) -> int:
    """Check the hook's parameters: 1 good, 0 refused with the reason in `message`."""

    def configure() -> int:
        from kea_subnet_deleg.runtime import service

        refusal = service.configure(ffi.string(parameters_json).decode())
        if refusal is None:
            return 1
        _write_message(refusal, message, size)
        return 0

    return _guarded(configure)


@ffi.def_extern(error=FAILED)  # type: ignore[untyped-decorator]
def deleg_python_configured(ticket: int) -> int:
    """Say what is to be served from the first packet on: 1 when it was said, 0 where that is nothing."""

    def configured() -> int:
        from kea_subnet_deleg.ledger import LedgerError
        from kea_subnet_deleg.runtime import service

        try:
            request = service.configured(EmbeddedKea(ffi, lib, 0))  # of no generation: it can log, not ask
        except LedgerError as error:
            write_log(lib, Severity.WARN, "SUBNET_DELEG_SUBNETS_UNKNOWN", str(error))
            return FAILED
        if not request:
            return 0
        lib.deleg_configured(ticket, request.encode())
        return 1

    return _guarded(configured)


@ffi.def_extern(error=FAILED)  # type: ignore[untyped-decorator]
def deleg_python_start(generation: int) -> int:
    """Start the service: 1 when it runs."""

    def start() -> int:
        from kea_subnet_deleg.runtime import service

        service.start(EmbeddedKea(ffi, lib, generation))
        return 1

    return _guarded(start)


@ffi.def_extern(error=FAILED)  # type: ignore[untyped-decorator]
def deleg_python_stop(timeout: float) -> int:
    """Stop the service: 1 when all its threads ended within `timeout` seconds, 0 if not."""

    def stop() -> int:
        from kea_subnet_deleg.runtime import service

        return int(service.stop(timeout))

    return _guarded(stop)
