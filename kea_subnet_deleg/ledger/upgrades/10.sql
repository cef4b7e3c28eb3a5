-- SPDX-License-Identifier: MPL-2.0
-- From version 9 to version 10: the ledger says when something is due next, and tells where that is sooner than was said.
-- Only functions and triggers, which the second half of schema.sql makes.

insert into deleg.schema_version (version) values (10);
