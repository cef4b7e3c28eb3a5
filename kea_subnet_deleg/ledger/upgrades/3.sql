-- SPDX-License-Identifier: MPL-2.0
-- From version 2 to version 3: the events are in partitions and may go after a time; a million blocks.
-- Only the tables, and functions that are no more; all others are made by the second half of schema.sql.

insert into deleg.schema_version (version) values (3);

-- ---------------------------------------------------------------------------------------------------------- the events

-- Version 2 said that events are kept for ever, so here they are until an operator says otherwise.
alter table deleg.domain add column history_days integer default 400 check (history_days >= 1);
update deleg.domain set history_days = null;

-- What there is becomes a partition as it is: it is read once, to see where it ends, and for the index, but not copied.
alter table deleg.events rename to events_before;
alter table deleg.events_before alter column seq drop identity, drop constraint events_pkey;
drop index deleg.events_prefix, deleg.events_was, deleg.events_identity, deleg.events_at;

create sequence deleg.events_seq;
select setval('deleg.events_seq', coalesce(max(seq), 0) + 1, false) from deleg.events_before;
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
    lessee int8_bloom_ops (n_distinct_per_range = 1000)) with (pages_per_range = 32);
create index events_identity on deleg.events (space, identity, kind, at) where identity is not null;

create table deleg.events_kept (
    like deleg.events,
    primary key (space, prefix)
) with (fillfactor = 70);
create index events_kept_went on deleg.events_kept (at) where state is null;

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
