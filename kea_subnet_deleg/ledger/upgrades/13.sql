-- SPDX-License-Identifier: MPL-2.0
-- From version 12 to version 13: what a restored ledger withheld and the sweep freed is withheld again once upstream says that it is ours; a
-- refusal by upstream is written down at once, however much is leased of it; whatever else a block was asked back for outlasts `pool keep`;
-- of what networks serve, report.subnets tells when the lease was acknowledged. No table changes; all functions and views are made by the
-- second half of schema.sql.

insert into deleg.schema_version (version) values (13);
