-- Lists that answer any page at any depth in the same time.

-- The living end customers of an account and environment, in the order of their making, cut into ranges of about
-- a thousand: a range begins at its instant and ends where the next begins. A page at any offset is found by
-- adding up the ranges, and how many there are in all with it. Kept by every change that adds or takes one.
CREATE TABLE end_customer_chunks (
    account_id  TEXT NOT NULL REFERENCES accounts (id),
    environment TEXT NOT NULL,
    start_at    BIGINT NOT NULL,               -- the first range begins at zero
    live        BIGINT NOT NULL,
    PRIMARY KEY (account_id, environment, start_at)
) WITHOUT ROWID;

-- Equal instants have equal ranks, so that they lie in one range.
INSERT INTO end_customer_chunks (account_id, environment, start_at, live)
SELECT account_id, environment, CASE WHEN piece = 0 THEN 0 ELSE MIN(created_at) END, COUNT(*)
FROM (
    SELECT account_id, environment, created_at,
           (RANK() OVER (PARTITION BY account_id, environment ORDER BY created_at) - 1) / 1000 AS piece
    FROM end_customers WHERE status = 'active'
) AS ranked
GROUP BY account_id, environment, piece;

-- One for every filter of GET /admin/customers that may stand alone, and one for both. A text that is searched for
-- may stand anywhere, so that every account has to be looked at: the index alone is read for it, not the rows.
DROP INDEX accounts_newest;
CREATE INDEX accounts_newest ON accounts (created_at DESC, id DESC, search);
CREATE INDEX accounts_of_tier ON accounts (tier, created_at DESC, id DESC);
CREATE INDEX accounts_of_status ON accounts (status, created_at DESC, id DESC);
CREATE INDEX accounts_of_tier_and_status ON accounts (tier, status, created_at DESC, id DESC);

-- An account may have a million customer keys: its own keys are found without meeting them.
CREATE INDEX api_keys_own ON api_keys (account_id, created_at DESC, number DESC) WHERE customer_id IS NULL;
CREATE INDEX api_keys_own_active ON api_keys (account_id, environment, created_at, number)
    WHERE customer_id IS NULL AND user_id IS NULL AND state = 'active';

-- The trail is read by instant, whatever the filter. The clocks of several control planes may differ, so that
-- instants don't always follow the numbers.
DROP INDEX audit_of_account;
CREATE INDEX audit_newest ON audit (at DESC, number DESC);
CREATE INDEX audit_of_account ON audit (account_id, at DESC, number DESC);
CREATE INDEX audit_of_actor ON audit (actor_id, at DESC, number DESC);
CREATE INDEX audit_of_action ON audit (action, at DESC, number DESC);
