# SPDX-License-Identifier: MPL-2.0
"""ISC Kea servers that hand IPv4 subnets to each other (RFC 6656), over a PostgreSQL ledger they share."""

from typing import Final

__version__: Final = "0.14.0"
"""The second number is the version of the ledger that it works with: deleg.servers shows who has not been updated yet."""
