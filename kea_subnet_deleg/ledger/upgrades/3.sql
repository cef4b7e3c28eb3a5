-- SPDX-License-Identifier: MPL-2.0
-- From version 2 to version 3: a million blocks. The events are in partitions and may go after a time; what a lease changes is in no index,
-- and nobody counts.
-- Only the tables, and functions that are no more; all others are made by the second half of schema.sql.

-- Who is at work finishes first, and nobody begins: so none holds one of these tables and waits for another.
select pg_advisory_xact_lock(222, 0);
lock table deleg.blocks, deleg.events in access exclusive mode;

insert into deleg.schema_version (version) values (3);

-- ---------------------------------------------------------------------------------------------------------- the events

-- Version 2 said that events are kept for ever, so here they are until an operator says otherwise.
alter table deleg.domain add column history_days integer default 400 check (history_days >= 1);
update deleg.domain set history_days = null;

-- What there is becomes a partition as it is: it is read once, to see where it ends, and for the index, but not copied.
create sequence deleg.events_seq;
select setval('deleg.events_seq', coalesce(max(seq), 0) + 1, false) from deleg.events;
alter table deleg.events rename to events_before;
alter table deleg.events_before alter column seq drop identity, drop constraint events_pkey;
drop index deleg.events_prefix, deleg.events_was, deleg.events_identity, deleg.events_at;

create table deleg.events (
    seq bigint not null default nextval('deleg.events_seq'),
    at timestamptz not null default clock_timestamp(),
    space integer not null,
    kind text not null,
    was cidr,
    prefix cidr,
    was_state deleg.block_state,
    state deleg.block_state,
    draining boolean,
    lessee bigint,
    server inet,
    expires timestamptz,
    identity bytea,
    reason text,
    detail jsonb
) partition by range (at);
alter sequence deleg.events_seq owned by deleg.events.seq;
alter table deleg.events_before alter column seq set default nextval('deleg.events_seq');
do $$
declare
    v_ends timestamptz := date_trunc('week', greatest(now(), (select max(at) from deleg.events_before)), 'UTC') + interval '7 days';
begin
    execute format('alter table deleg.events attach partition deleg.events_before for values from (minvalue) to (%L)', v_ends);
end $$;
create table deleg.events_default partition of deleg.events default;
create index events_what on deleg.events using brin (
    at, prefix inet_bloom_ops (n_distinct_per_range = 2000), nullif(was, prefix) inet_bloom_ops (n_distinct_per_range = 1000),
    lessee int8_bloom_ops (n_distinct_per_range = 1000), identity bytea_bloom_ops (n_distinct_per_range = 500)) with (pages_per_range = 32);

create table deleg.events_kept (
    like deleg.events,
    primary key (space, prefix)
) with (fillfactor = 70);
create index events_kept_went on deleg.events_kept (at) where state is null;

create unlogged table deleg.noted (
    space integer not null,
    identity bytea not null,
    kind text not null,
    at timestamptz not null default now(),
    primary key (space, identity, kind)
);
create index noted_at on deleg.noted (at);

create table deleg.progress (
    what text primary key,
    part text,
    pages bigint,
    space integer,
    prefix cidr
);

drop function if exists deleg.keep_days();
drop index deleg.usage_days_day;
create index usage_days_age on deleg.usage_days ((day + 0));

-- ---------------------------------------------------------------------------------------------------------- the blocks
-- What a lease changes is in no index any more; triggers for each statement, no foreign keys.
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
alter table deleg.origins add column turned cidr;
create index origins_turned on deleg.origins (space, prefix) where turned is not null;

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
