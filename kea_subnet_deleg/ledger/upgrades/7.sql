-- SPDX-License-Identifier: MPL-2.0
-- From version 6 to version 7: functions and an index that take less time.

insert into deleg.schema_version (version) values (7);

drop function if exists deleg._hold(integer, cidr[], bigint);
drop function if exists deleg._held(integer, bigint);

-- Plans for a table that PostgreSQL knows nothing of yet could take the primary key instead, since both begin with the space.
drop index deleg.blocks_transaction;
create unique index blocks_transaction on deleg.blocks (lessee, xid, slot) where xid is not null;
