-- Several control planes on one database.

-- Whose call runs under an idempotency key: the claim is the call's own, the control plane is the one that runs it.
ALTER TABLE idempotency ADD COLUMN claim TEXT NOT NULL DEFAULT '';
ALTER TABLE idempotency ADD COLUMN control_plane TEXT NOT NULL DEFAULT '';

-- One start of one control plane. It lives while it renews its row; instants are the database's own clock.
CREATE TABLE control_planes (
    id         TEXT PRIMARY KEY NOT NULL,
    renewed_at BIGINT NOT NULL
);

-- What each control plane says of the gateways that are on it, for all others. Unused where there is only one.
CREATE TABLE gateways (
    id              TEXT PRIMARY KEY NOT NULL,
    control_plane   TEXT NOT NULL,             -- where its stream is, or was last
    session         BIGINT NOT NULL,           -- which of that control plane's streams
    boot_epoch      BIGINT NOT NULL,
    address         TEXT NOT NULL,
    version         TEXT NOT NULL,
    state           TEXT NOT NULL,             -- connected | syncing | disconnected | stopped
    revision        BIGINT NOT NULL,           -- in force there
    refused         TEXT NOT NULL,             -- JSON array of revisions that never will be
    heard_at        BIGINT NOT NULL,           -- by the database's clock
    denies_after_ms BIGINT                     -- how long it serves without hearing from us; null: for ever
);
CREATE INDEX gateways_of_control_plane ON gateways (control_plane);
