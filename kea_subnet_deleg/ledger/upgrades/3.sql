-- SPDX-License-Identifier: MPL-2.0
-- From version 2 to version 3: what a lease changes is in no index, and blocks are counted as they change.

insert into deleg.schema_version (version) values (3);

-- Blocks: looked at when due; no foreign keys, triggers for each statement.
alter table deleg.blocks
    add column due timestamptz,
    drop constraint blocks_lessee_fkey,
    drop constraint blocks_space_origin_fkey,
    set (fillfactor = 55);
alter table deleg.lessees drop constraint lessees_space_fkey, set (fillfactor = 80);
drop trigger blocks_events on deleg.blocks;
drop function deleg._block_event();
update deleg.blocks
   set due = expires,
       xid = case when state <> 'quarantined' then xid end,
       slot = case when state <> 'quarantined' then slot end
 where expires is not null;
drop index deleg.blocks_free, deleg.blocks_free_origin, deleg.blocks_transaction, deleg.blocks_due;
create index blocks_free on deleg.blocks (space, pool, masklen(prefix) desc, prefix) where due is null and not draining;
create index blocks_free_origin on deleg.blocks (space, origin, masklen(prefix) desc, prefix) where due is null and not draining;
create unique index blocks_transaction on deleg.blocks (space, lessee, xid, slot) where xid is not null;
create index blocks_due on deleg.blocks (due) where due is not null;
create index origins_closing on deleg.origins (space, prefix) where closing;

create table deleg.holds (
    hold bigint generated always as identity primary key,
    ends timestamptz not null,
    space integer not null,
    prefixes cidr[] not null
);
create index holds_ends on deleg.holds (ends);
insert into deleg.holds (ends, space, prefixes)
select max(expires), space, array_agg(prefix) from deleg.blocks where state = 'offered' group by space;

create table deleg.tallies (
    space integer not null,
    pool integer not null,
    what text not null check (what in ('open', 'held', 'used')),
    length smallint not null,
    process integer not null,
    amount bigint not null,
    primary key (process, space, pool, what, length)
) with (fillfactor = 50);
insert into deleg.tallies (space, pool, what, length, process, amount)
select space, pool, case state when 'free' then 'open' else 'held' end, masklen(prefix), 0, count(*)
  from deleg.blocks where state in ('leased', 'reserved') or state = 'free' and not draining group by 1, 2, 3, 4;
insert into deleg.tallies (space, pool, what, length, process, amount)
select space, 0, 'used', 0, 0,
       sum(case coalesce(in_use, high_water, 0) when 65534 then 1::bigint << (32 - masklen(prefix)) else coalesce(in_use, high_water, 0) end)
  from deleg.usage where lessee is not null group by space;

create type deleg.contact as (address inet, port integer, relayed boolean, hardware text, nonce text);
create type deleg.message as (
    op text, space integer, identity text, xid bigint, server inet, contact deleg.contact, lease_time bigint, asked bigint, hold bigint,
    pools integer[], max_blocks bigint, max_addresses bigint, shortest bigint, sizes jsonb, blocks jsonb, held boolean, through boolean);

drop function deleg.totals(), deleg.sweep(integer, bigint);
