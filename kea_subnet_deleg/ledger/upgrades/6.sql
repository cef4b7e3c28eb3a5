-- SPDX-License-Identifier: MPL-2.0
-- From version 5 to version 6: what an operator asked back or removes can be left where it is; functions that answer otherwise than before.

insert into deleg.schema_version (version) values (6);

drop function if exists deleg._apply_one(deleg.message, boolean);
drop function if exists deleg._offer(integer, bytea, jsonb, boolean);
drop function if exists deleg._offered_simply(integer, bigint, bigint, integer[], integer, bigint, bigint, inet, bigint);
drop function if exists deleg._offer_many(integer[], deleg.message[], boolean);
drop function if exists deleg._held(integer, bigint);
drop function if exists deleg._renew_first(integer, bigint, jsonb);
drop function if exists deleg._open(integer, cidr);
drop function if exists deleg.upstream_acknowledged(integer, inet, bigint, bigint, bigint, cidr[], boolean[], bytea);

-- What is used of a block is never more than it has.
delete from deleg.tallies where what = 'used';
insert into deleg.tallies (space, pool, what, length, process, amount)
select space, 0, 'used', 0, pg_backend_pid(),
       sum(case coalesce(in_use, high_water, 0) when 65534 then 1::bigint << (32 - masklen(prefix))
           else least(coalesce(in_use, high_water, 0), 1::bigint << (32 - masklen(prefix))) end)
  from deleg.usage where lessee is not null group by space;
