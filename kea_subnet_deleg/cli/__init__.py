# SPDX-License-Identifier: MPL-2.0
"""`kea-subnet-deleg`, the operator's command line. Results on stdout, errors on stderr with a non-zero exit status."""

from kea_subnet_deleg.cli.app import main

__all__ = ["main"]
