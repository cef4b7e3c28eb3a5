-- SPDX-License-Identifier: MPL-2.0
-- From version 11 to version 12: an operator can give up what a network has that no server serves any more, and report.networks tells when
-- one said last what is in use; servers learn when the next renewal is due. No table changes; all functions and views are made by the
-- second half of schema.sql.

insert into deleg.schema_version (version) values (12);
