# SPDX-License-Identifier: MPL-2.0
"""What the scripts of this folder run."""
