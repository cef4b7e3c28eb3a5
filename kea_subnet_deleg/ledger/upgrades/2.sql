-- SPDX-License-Identifier: MPL-2.0
-- From version 1 to version 2: this domain leases subnets itself, and serves addresses of them.
-- Only the tables, and functions that are no more; all others are made by the second half of schema.sql.

insert into deleg.schema_version (version) values (2);

create table deleg.domain (
    sole boolean primary key default true check (sole),
    identity bytea not null
);
insert into deleg.domain (identity) values ('\xff000000010004'::bytea || uuid_send(gen_random_uuid()));

alter table deleg.origins
    add column upstream inet,
    add column lease_time bigint,
    add column renewed timestamptz,
    add column renew_at timestamptz,
    add column rebind_at timestamptz,
    add column next_try timestamptz,
    add column tries integer not null default 0,
    add column high_water bigint,
    add column removing boolean not null default false,
    add column giving_back boolean not null default false,
    add constraint origins_upstream check ((kind = 'upstream') = (num_nonnulls(upstream, lease_time, renew_at, rebind_at) = 4));
update deleg.origins set removing = true where closing;              -- an operator was the only one who could
create index origins_due on deleg.origins (next_try) where kind = 'upstream';
create index origins_end on deleg.origins (expires) where kind = 'upstream';
create index origins_server on deleg.origins (space, upstream) where kind = 'upstream';

alter table deleg.blocks add column network text;
create index blocks_served on deleg.blocks (space, network, prefix) where network is not null or not hierarchical;

alter table deleg.usage alter column lessee drop not null;

create table deleg.usage_days (
    space integer not null,
    prefix cidr not null,
    day date not null,
    in_use_first integer not null,
    in_use_last integer not null,
    most integer not null,
    primary key (space, prefix, day)
);
create index usage_days_day on deleg.usage_days (day);

create table deleg.upstreams (
    server inet primary key,
    nonce bytea check (length(nonce) = 16),
    replay numeric(20) not null default 0 check (replay >= 0)
);

create table deleg.claims (
    what text primary key,
    who text not null,
    until timestamptz not null
);

drop function deleg._find_free(integer, integer[], bigint, integer, integer, cidr), deleg._offer(integer, bytea, jsonb);
