-- What operators say of a gateway. One without a row is sent everything, and may come in with any credential of its own
-- or the shared one.
CREATE TABLE gateway_settings (
    id          TEXT PRIMARY KEY NOT NULL,
    blocked     BIGINT NOT NULL,
    accounts    TEXT,                            -- JSON array of ids; null: all
    environment TEXT,                            -- test | production; null: both
    updated_at  BIGINT NOT NULL
);

-- Gateways' own tokens, by their keyed digests.
CREATE TABLE gateway_tokens (
    id           TEXT PRIMARY KEY NOT NULL,
    gateway_id   TEXT NOT NULL,
    name         TEXT,
    mask         TEXT NOT NULL,
    digest       BYTEA NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT
);
CREATE INDEX gateway_tokens_of_gateway ON gateway_tokens (gateway_id, created_at);

-- Moves with every change of the two above, so that a control plane sees with one small read that it knows both.
CREATE TABLE gateway_access (
    id      BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    version BIGINT NOT NULL
);
INSERT INTO gateway_access (id, version) VALUES (1, 0);
