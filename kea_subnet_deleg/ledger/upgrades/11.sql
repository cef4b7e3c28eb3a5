-- SPDX-License-Identifier: MPL-2.0
-- From version 10 to version 11: the first events of a week are not put into its index one by one.
-- Only functions, which the second half of schema.sql makes.

insert into deleg.schema_version (version) values (11);
