-- A gateway may hold a snapshot that would drop most of its keys, until an operator confirms it.
ALTER TABLE gateways ADD COLUMN held TEXT NOT NULL DEFAULT '';          -- JSON; empty: none
ALTER TABLE gateways ADD COLUMN confirmed BIGINT NOT NULL DEFAULT 0;    -- the revision that an operator confirmed
