# SPDX-License-Identifier: MPL-2.0
"""What the project is measured by: each figure is a ratio of two things that are run in turn on the same machine. See README.md."""
