-- Usage as the gateways report it, and the sums that are read often. Days and hours are whole ones since
-- 1970 in UTC. An absent customer or key is the empty text, so that it can stand in a primary key.

-- One start of one gateway: what its absolute values belong to.
CREATE TABLE usage_boots (
    id         BIGINT PRIMARY KEY NOT NULL,
    gateway_id TEXT NOT NULL,
    boot_epoch BIGINT NOT NULL,
    reports    BIGINT NOT NULL,               -- written first by every merge: the lock on this boot's counters
    UNIQUE (gateway_id, boot_epoch)
);

-- Who called what: its long ids stand here once, and not in every hour.
CREATE TABLE usage_subjects (
    id              BIGINT PRIMARY KEY NOT NULL,
    account_id      TEXT NOT NULL,
    environment     TEXT NOT NULL,
    customer_id     TEXT NOT NULL,
    account_key_id  TEXT NOT NULL,
    customer_key_id TEXT NOT NULL,
    route           TEXT NOT NULL,
    UNIQUE (account_id, environment, customer_id, account_key_id, customer_key_id, route)
);

-- The greatest value seen of each counter. Everything below is derived from this table.
CREATE TABLE usage_counters (
    subject          BIGINT NOT NULL,
    hour             BIGINT NOT NULL,
    boot             BIGINT NOT NULL,
    accepted         BIGINT NOT NULL,
    rate_limited     BIGINT NOT NULL,
    quota_refused    BIGINT NOT NULL,
    auth_refused     BIGINT NOT NULL,
    answers_1xx      BIGINT NOT NULL,
    answers_2xx      BIGINT NOT NULL,
    answers_3xx      BIGINT NOT NULL,
    answers_4xx      BIGINT NOT NULL,
    answers_5xx      BIGINT NOT NULL,
    bytes_in         BIGINT NOT NULL,
    bytes_out        BIGINT NOT NULL,
    latency_us       BIGINT NOT NULL,
    last_accepted_at BIGINT NOT NULL,         -- 0: never
    last_refused_at  BIGINT NOT NULL,
    PRIMARY KEY (subject, hour, boot)
);

CREATE TABLE usage_customer_days (
    account_id      TEXT NOT NULL,
    environment     TEXT NOT NULL,
    customer_id     TEXT NOT NULL,
    day             BIGINT NOT NULL,
    accepted        BIGINT NOT NULL,
    limited         BIGINT NOT NULL,
    refused         BIGINT NOT NULL,
    last_request_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, environment, customer_id, day)
);

CREATE TABLE usage_account_days (
    account_id  TEXT NOT NULL,
    environment TEXT NOT NULL,
    day         BIGINT NOT NULL,
    accepted    BIGINT NOT NULL,
    limited     BIGINT NOT NULL,
    refused     BIGINT NOT NULL,
    PRIMARY KEY (account_id, environment, day)
);

-- Accepted production calls of one boot: what a gateway adds to its quota by itself.
CREATE TABLE usage_boot_days (
    boot       BIGINT NOT NULL,
    account_id TEXT NOT NULL,
    day        BIGINT NOT NULL,
    accepted   BIGINT NOT NULL,
    PRIMARY KEY (boot, account_id, day)
);

CREATE TABLE usage_keys (
    key_id       TEXT PRIMARY KEY NOT NULL,
    last_used_at BIGINT NOT NULL
);

-- An end customer's bucket as some gateway last saw it.
CREATE TABLE usage_buckets (
    account_id  TEXT NOT NULL,
    environment TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    millitokens BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (account_id, environment, customer_id)
);
