-- Who wants to be told of what. The secret signs and is kept sealed; while an older one is still good, both sign.
CREATE TABLE webhooks (
    id               TEXT PRIMARY KEY NOT NULL,
    url              TEXT NOT NULL,
    events           TEXT NOT NULL,              -- JSON array of event types; ["*"]: all
    description      TEXT,
    status           TEXT NOT NULL,              -- active | disabled
    disabled_reason  TEXT,                       -- operator | gone
    secret           BLOB NOT NULL,              -- AEAD under the master key, bound to the webhook's id
    old_secret       BLOB,
    old_secret_until BIGINT,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL
);

-- What is told: written in the transaction of the change itself, only when somebody wants it.
CREATE TABLE webhook_events (
    id   TEXT PRIMARY KEY NOT NULL,              -- what receivers get as `webhook-id`
    type TEXT NOT NULL,
    at   BIGINT NOT NULL,
    body TEXT NOT NULL                           -- the very bytes that are signed and sent
);
CREATE INDEX webhook_events_age ON webhook_events (at);

CREATE TABLE webhook_deliveries (
    id         TEXT PRIMARY KEY NOT NULL,
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id   TEXT NOT NULL REFERENCES webhook_events (id) ON DELETE CASCADE,
    state      TEXT NOT NULL,                    -- pending | delivered | failed
    attempts   BIGINT NOT NULL,                  -- begun so far
    tries      BIGINT NOT NULL,                  -- begun since it was made or replayed: how long the next pause is
    due_at     BIGINT NOT NULL,                  -- when it may be taken: the next attempt, or the end of a lease
    lease      TEXT,                             -- whose attempt is under way
    give_up_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_late ON webhook_deliveries (give_up_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (webhook_id, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_of_event ON webhook_deliveries (event_id);

-- Every attempt that came to an end.
CREATE TABLE webhook_attempts (
    delivery_id TEXT NOT NULL REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    status      BIGINT,                          -- the answer's; null when there was none
    error       TEXT,                            -- why there was none
    PRIMARY KEY (delivery_id, number)
);

-- Which control plane does what only one needs to do, and until when.
CREATE TABLE job_claims (
    name   TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    until  BIGINT NOT NULL
);

-- The thresholds that an account has crossed in a contract year: each is told once.
CREATE TABLE quota_crossings (
    account_id   TEXT NOT NULL REFERENCES accounts (id),
    period_start BIGINT NOT NULL,
    threshold    BIGINT NOT NULL,                -- per cent
    at           BIGINT NOT NULL,
    PRIMARY KEY (account_id, period_start, threshold)
);

-- The expiry that was announced; another expiry is announced anew. The index holds only what may have to be.
ALTER TABLE api_keys ADD COLUMN expiry_told BIGINT;
CREATE INDEX api_keys_expiring ON api_keys (expires_at)
    WHERE expires_at IS NOT NULL AND state = 'active' AND rotated_at IS NULL;

-- The audit trail only grows: a row that was written stays as it is, by whatever way somebody comes.
CREATE TRIGGER audit_rows_stay BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;
CREATE TRIGGER audit_rows_are_kept BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;
