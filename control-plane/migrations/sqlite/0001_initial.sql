-- Instants are milliseconds since 1970 (BIGINT), ids are text as the surfaces write them, digests and sealed
-- keys are bytes. Only types that SQLite and PostgreSQL share are used, so that one text of every query
-- serves both.

-- What there is one of: the feed epoch.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

-- The one row that every change locks: this is what makes revisions gapless and ordered.
CREATE TABLE change_head (
    id        BIGINT PRIMARY KEY NOT NULL,
    revision  BIGINT NOT NULL
);
INSERT INTO change_head (id, revision) VALUES (1, 0);

-- The change log: one row a transaction, `records` is a protobuf Change's records (keyward.sync.v1).
CREATE TABLE changes (
    revision     BIGINT PRIMARY KEY NOT NULL,
    committed_at BIGINT NOT NULL,
    records      BLOB NOT NULL
);

CREATE TABLE accounts (
    id             TEXT PRIMARY KEY NOT NULL,
    company_name   TEXT NOT NULL,
    contact_email  TEXT NOT NULL,
    tier           TEXT NOT NULL,
    status         TEXT NOT NULL,              -- active | suspended | cancelled
    contract_start BIGINT,                     -- midnight UTC, inclusive
    contract_end   BIGINT,                     -- midnight UTC, exclusive for gateways (the day after the last)
    overrides      TEXT,                       -- JSON, custom tier only
    metadata       TEXT NOT NULL,              -- JSON object
    search         TEXT NOT NULL DEFAULT '',   -- name and e-mail in lower case, for GET /admin/customers?query=
    -- The limits as last sent to the gateways, so that a changed catalogue is noticed at start.
    rate_limit     BIGINT NOT NULL,
    burst_limit    BIGINT NOT NULL,
    annual_limit   BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX accounts_newest ON accounts (created_at DESC, id DESC);

CREATE TABLE environments (
    id             TEXT PRIMARY KEY NOT NULL,  -- 16 hex digits
    account_id     TEXT NOT NULL REFERENCES accounts (id),
    kind           TEXT NOT NULL,              -- test | production
    user_key_limit BIGINT NOT NULL,
    UNIQUE (account_id, kind)
);

CREATE TABLE end_customers (
    account_id  TEXT NOT NULL REFERENCES accounts (id),
    environment TEXT NOT NULL,
    id          TEXT NOT NULL,                 -- 25-character cuid, unique per account and environment
    name        TEXT NOT NULL,
    status      TEXT NOT NULL,                 -- active | deleted
    rate_limit  BIGINT,                        -- lower than the tier's, when set
    burst_limit BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    deleted_at  BIGINT,
    PRIMARY KEY (account_id, environment, id)
);
-- A deleted customer's name is free again.
CREATE UNIQUE INDEX end_customers_name ON end_customers (account_id, environment, name) WHERE status = 'active';
CREATE INDEX end_customers_newest ON end_customers (account_id, environment, created_at DESC, id DESC) WHERE status = 'active';

CREATE TABLE users (
    id         TEXT PRIMARY KEY NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    sub        TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    email      TEXT NOT NULL,
    claims     TEXT NOT NULL,                  -- JSON array
    status     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Account keys and customer keys of all surfaces. Nothing is ever removed: the tombstone is what makes the
-- answer 'revoked' and not 'unknown'.
CREATE TABLE api_keys (
    id                 TEXT PRIMARY KEY NOT NULL,
    number             BIGINT NOT NULL UNIQUE,   -- sequential, never reused
    account_id         TEXT NOT NULL REFERENCES accounts (id),
    environment        TEXT NOT NULL,
    customer_id        TEXT,                     -- set for customer keys
    user_id            TEXT REFERENCES users (id),
    origin             TEXT NOT NULL,            -- portal | admin | keys | user-keys
    name               TEXT,
    mask               TEXT NOT NULL,
    digest             BLOB NOT NULL UNIQUE,
    sealed             BLOB,                     -- AEAD under the master key, bound to the key's id
    state              TEXT NOT NULL,            -- active | disabled | revoked | deleted
    expires_at         BIGINT,
    allowed_ips        TEXT,                     -- JSON array in canonical form
    api_version        TEXT NOT NULL,
    api_version_changed_at     BIGINT NOT NULL,
    no_downgrade_after BIGINT,
    rotated_at         BIGINT,
    created_by         TEXT NOT NULL,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    revoked_at         BIGINT,
    deleted_at         BIGINT
);
CREATE INDEX api_keys_of_account ON api_keys (account_id, environment, created_at DESC, id DESC);
CREATE INDEX api_keys_of_customer ON api_keys (account_id, environment, customer_id) WHERE customer_id IS NOT NULL;

CREATE TABLE admin_keys (
    id           TEXT PRIMARY KEY NOT NULL,
    name         TEXT NOT NULL,
    role         TEXT NOT NULL,                -- owner | operator | viewer
    mask         TEXT NOT NULL,
    digest       BLOB NOT NULL UNIQUE,
    state        TEXT NOT NULL,                -- active | revoked
    created_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    last_used_at BIGINT
);

-- Answers kept for Idempotency-Key, sealed, since they hold keys.
CREATE TABLE idempotency (
    scope       TEXT NOT NULL,                 -- credential id, method and path
    key         TEXT NOT NULL,
    body_hash   BLOB NOT NULL,
    status      BIGINT,                        -- the answer's; null while the call runs, 0 once it acted, 1: answer lost
    answer      BLOB,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

-- Who, what, when, from where, before and after; never a secret. Rows are only ever added.
CREATE TABLE audit (
    number      BIGINT PRIMARY KEY NOT NULL,
    id          TEXT NOT NULL UNIQUE,
    at          BIGINT NOT NULL,
    actor_kind  TEXT NOT NULL,
    actor_id    TEXT NOT NULL,
    action      TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id   TEXT NOT NULL,
    account_id  TEXT,
    before      TEXT,
    after       TEXT,
    request_id  TEXT NOT NULL,
    address     TEXT NOT NULL,
    hash        TEXT NOT NULL                  -- SHA-256 over the row before and this one: a changed row shows
);
CREATE INDEX audit_of_account ON audit (account_id, number);
