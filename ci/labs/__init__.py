# SPDX-License-Identifier: MPL-2.0
"""Throw-away labs: real Kea servers, a real PostgreSQL cluster and clients, in network namespaces of their own.

`Lab` is what tests, `ci/lab` and `ci/demo` use. Everything a lab starts it records in its directory and ends again, and
nothing else.
"""

from ci.labs.lab import TOPOLOGIES, Lab, LabError
from ci.labs.server import Server

__all__ = ["TOPOLOGIES", "Lab", "LabError", "Server"]
