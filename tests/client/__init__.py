# SPDX-License-Identifier: MPL-2.0
"""An RFC 6656 client that shares no code with the server it is used against.

It was written from the words of RFC 6656, RFC 2131 and their neighbours, so that a misreading in `kea_subnet_deleg` is
not repeated here.
Nothing in this package may import `kea_subnet_deleg`.
"""
