-- What imports made, by the names that their source gave: a repeat finds it there and makes nothing twice.
CREATE TABLE import_refs (
    kind       TEXT NOT NULL,              -- customer | user | end_customer | api_key
    scope      TEXT NOT NULL,              -- inside what the name is unique: nothing, an account, or one of its environments
    ref        TEXT NOT NULL,
    id         TEXT NOT NULL,              -- our own
    created_at BIGINT NOT NULL,
    PRIMARY KEY (kind, scope, ref)
);

-- How far each file was taken, written in the transaction of the lines themselves.
CREATE TABLE import_progress (
    file       TEXT PRIMARY KEY NOT NULL,  -- its path
    taken_lines BIGINT NOT NULL,
    taken_bytes BIGINT NOT NULL,
    hash       TEXT NOT NULL,              -- SHA-256 over what was taken: another file of the same name shows
    updated_at BIGINT NOT NULL
);
