-- The keys that sign our own tokens, shared by all control planes. The secret part is sealed under the master key,
-- bound to the key's id; the public part is made from it, so that a row which doesn't open proves nothing.
CREATE TABLE signing_keys (
    number     BIGINT PRIMARY KEY NOT NULL,  -- the next one is the newest's plus one: of two that rotate at once one wins
    kid        TEXT NOT NULL UNIQUE,
    sealed     BYTEA NOT NULL,
    signs_from BIGINT NOT NULL,              -- published before
    created_at BIGINT NOT NULL
);
