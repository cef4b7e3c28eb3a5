-- SPDX-License-Identifier: MPL-2.0
-- From version 10 to version 11: lessees whom nothing names any more are forgotten; the first events of a week are not put into its index
-- one by one. Only the tables; all functions are made by the second half of schema.sql.

insert into deleg.schema_version (version) values (11);

alter table deleg.lessees add column named timestamptz not null default now();
alter table deleg.usage drop constraint usage_lessee_fkey;
