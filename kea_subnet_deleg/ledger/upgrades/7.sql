-- SPDX-License-Identifier: MPL-2.0
-- From version 6 to version 7: functions alone, which take less time.

insert into deleg.schema_version (version) values (7);

drop function if exists deleg._hold(integer, cidr[], bigint);
drop function if exists deleg._held(integer, bigint);
