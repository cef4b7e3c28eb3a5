-- SPDX-License-Identifier: MPL-2.0
-- From version 3 to version 4: functions alone.

insert into deleg.schema_version (version) values (4);
