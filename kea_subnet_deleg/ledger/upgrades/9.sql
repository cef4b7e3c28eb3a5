-- SPDX-License-Identifier: MPL-2.0
-- From version 8 to version 9: what an offer leaves free in its page is enough for the lease that follows; a ledger knows that it was restored.
-- Only the tables; all functions are made by the second half of schema.sql.

insert into deleg.schema_version (version) values (9);

-- For pages to come. Those that are full already have room again as leases are renewed.
alter table deleg.blocks set (fillfactor = 48);

alter table deleg.domain add column restored_until timestamptz;

drop function if exists deleg._next_try(timestamptz, bigint);       -- made by version 2
