-- Extra validations that operators granted. A grant belongs to the contract year that `at` lies in.
CREATE TABLE quota_grants (
    id          TEXT PRIMARY KEY NOT NULL,
    account_id  TEXT NOT NULL REFERENCES accounts (id),
    at          BIGINT NOT NULL,
    validations BIGINT NOT NULL,
    reason      TEXT,
    created_at  BIGINT NOT NULL,
    created_by  TEXT NOT NULL
);
CREATE INDEX quota_grants_of_account ON quota_grants (account_id, at);

-- What the limits of each tier do, as gateways were told. A tier without a row: its limits are enforced, and each
-- gateway falls back as it is configured to.
CREATE TABLE tier_policies (
    tier       TEXT PRIMARY KEY NOT NULL,
    limit_mode TEXT NOT NULL,                    -- enforce | shadow
    fallback   TEXT,                             -- share | allow | deny; null: what each gateway is configured to do
    told_until TEXT                              -- accounts up to this id were published anew; null: all were
);

-- What an account's year is made of, by gateway.
CREATE INDEX usage_boot_days_of_account ON usage_boot_days (account_id, day, boot);
