-- Usage by hour, day and month that is read in one range, kept in detail for a while, and doesn't grow with every start
-- of a gateway. Hours, days and months are whole ones since 1970 in UTC.

-- Calls that a limit in shadow mode would have refused; they are among the accepted ones.
ALTER TABLE usage_counters ADD COLUMN would_limit BIGINT NOT NULL DEFAULT 0;
-- Folding a start, and deleting what is old.
CREATE INDEX usage_counters_of_boot ON usage_counters (boot, hour, subject);
-- Handing out all usage, account by account.
CREATE INDEX usage_subjects_in_order ON usage_subjects (account_id, environment, id);

-- What gateways say of their starts. Counters of starts below `settled_before` are known for good: they are folded into
-- those of one more "start" of the gateway, with the epoch -1, and a report of them is a repeat.
CREATE TABLE usage_gateways (
    gateway_id     TEXT PRIMARY KEY NOT NULL,
    settled_before BIGINT NOT NULL,
    heard_at       BIGINT NOT NULL
);
INSERT INTO usage_gateways (gateway_id, settled_before, heard_at)
SELECT DISTINCT gateway_id, 0, CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT) FROM usage_boots;

-- What each subject used in a day (unit 2) or month (unit 3); its hours are in usage_counters. Moved by every merge.
CREATE TABLE usage_subject_sums (
    subject          BIGINT NOT NULL,
    unit             BIGINT NOT NULL,
    start            BIGINT NOT NULL,
    accepted         BIGINT NOT NULL,
    rate_limited     BIGINT NOT NULL,
    quota_refused    BIGINT NOT NULL,
    auth_refused     BIGINT NOT NULL,
    would_limit      BIGINT NOT NULL,
    answers_1xx      BIGINT NOT NULL,
    answers_2xx      BIGINT NOT NULL,
    answers_3xx      BIGINT NOT NULL,
    answers_4xx      BIGINT NOT NULL,
    answers_5xx      BIGINT NOT NULL,
    bytes_in         BIGINT NOT NULL,
    bytes_out        BIGINT NOT NULL,
    latency_us       BIGINT NOT NULL,
    last_accepted_at BIGINT NOT NULL,
    last_refused_at  BIGINT NOT NULL,
    PRIMARY KEY (subject, unit, start)
);
CREATE INDEX usage_subject_sums_by_age ON usage_subject_sums (unit, start, subject);

-- Who has so many subjects that they are summed up: an account in an environment, and each of its account keys. Of the
-- account as a whole the key is the empty text.
CREATE TABLE usage_owners (
    id             BIGINT PRIMARY KEY NOT NULL,
    account_id     TEXT NOT NULL,
    environment    TEXT NOT NULL,
    account_key_id TEXT NOT NULL,
    UNIQUE (account_id, environment, account_key_id)
);

-- What they used in an hour (unit 1), day (2) or month (3).
CREATE TABLE usage_totals (
    owner            BIGINT NOT NULL,
    unit             BIGINT NOT NULL,
    start            BIGINT NOT NULL,
    accepted         BIGINT NOT NULL,
    rate_limited     BIGINT NOT NULL,
    quota_refused    BIGINT NOT NULL,
    auth_refused     BIGINT NOT NULL,
    would_limit      BIGINT NOT NULL,
    answers_1xx      BIGINT NOT NULL,
    answers_2xx      BIGINT NOT NULL,
    answers_3xx      BIGINT NOT NULL,
    answers_4xx      BIGINT NOT NULL,
    answers_5xx      BIGINT NOT NULL,
    bytes_in         BIGINT NOT NULL,
    bytes_out        BIGINT NOT NULL,
    latency_us       BIGINT NOT NULL,
    last_accepted_at BIGINT NOT NULL,
    last_refused_at  BIGINT NOT NULL,
    PRIMARY KEY (owner, unit, start)
);
CREATE INDEX usage_totals_by_age ON usage_totals (unit, start, owner);
CREATE INDEX usage_boot_days_by_age ON usage_boot_days (day);

-- All of it follows from the counters, of which none was ever deleted.
INSERT INTO usage_subject_sums (subject, unit, start,
    accepted, rate_limited, quota_refused, auth_refused, would_limit, answers_1xx, answers_2xx, answers_3xx,
    answers_4xx, answers_5xx, bytes_in, bytes_out, latency_us, last_accepted_at, last_refused_at)
SELECT c.subject, 2, c.hour / 24,
    CAST(SUM(c.accepted) AS BIGINT), CAST(SUM(c.rate_limited) AS BIGINT),
    CAST(SUM(c.quota_refused) AS BIGINT), CAST(SUM(c.auth_refused) AS BIGINT),
    CAST(SUM(c.would_limit) AS BIGINT), CAST(SUM(c.answers_1xx) AS BIGINT),
    CAST(SUM(c.answers_2xx) AS BIGINT), CAST(SUM(c.answers_3xx) AS BIGINT),
    CAST(SUM(c.answers_4xx) AS BIGINT), CAST(SUM(c.answers_5xx) AS BIGINT), CAST(SUM(c.bytes_in) AS BIGINT),
    CAST(SUM(c.bytes_out) AS BIGINT), CAST(SUM(c.latency_us) AS BIGINT), MAX(c.last_accepted_at),
    MAX(c.last_refused_at)
FROM usage_counters c GROUP BY c.subject, c.hour / 24;
INSERT INTO usage_subject_sums (subject, unit, start,
    accepted, rate_limited, quota_refused, auth_refused, would_limit, answers_1xx, answers_2xx, answers_3xx,
    answers_4xx, answers_5xx, bytes_in, bytes_out, latency_us, last_accepted_at, last_refused_at)
SELECT c.subject, 3, CAST(EXTRACT(YEAR FROM to_timestamp(c.hour * 3600) AT TIME ZONE 'UTC') * 12
        + EXTRACT(MONTH FROM to_timestamp(c.hour * 3600) AT TIME ZONE 'UTC') AS BIGINT) - 23641,
    CAST(SUM(c.accepted) AS BIGINT), CAST(SUM(c.rate_limited) AS BIGINT),
    CAST(SUM(c.quota_refused) AS BIGINT), CAST(SUM(c.auth_refused) AS BIGINT),
    CAST(SUM(c.would_limit) AS BIGINT), CAST(SUM(c.answers_1xx) AS BIGINT),
    CAST(SUM(c.answers_2xx) AS BIGINT), CAST(SUM(c.answers_3xx) AS BIGINT),
    CAST(SUM(c.answers_4xx) AS BIGINT), CAST(SUM(c.answers_5xx) AS BIGINT), CAST(SUM(c.bytes_in) AS BIGINT),
    CAST(SUM(c.bytes_out) AS BIGINT), CAST(SUM(c.latency_us) AS BIGINT), MAX(c.last_accepted_at),
    MAX(c.last_refused_at)
FROM usage_counters c GROUP BY 1, 3;

INSERT INTO usage_owners (id, account_id, environment, account_key_id)
SELECT ROW_NUMBER() OVER (ORDER BY account_id, environment, account_key_id), account_id, environment, account_key_id
FROM (
    SELECT account_id, environment, '' AS account_key_id FROM usage_subjects
    UNION
    SELECT account_id, environment, account_key_id FROM usage_subjects
) AS owners;
INSERT INTO usage_totals (owner, unit, start,
    accepted, rate_limited, quota_refused, auth_refused, would_limit, answers_1xx, answers_2xx, answers_3xx,
    answers_4xx, answers_5xx, bytes_in, bytes_out, latency_us, last_accepted_at, last_refused_at)
SELECT o.id, 1, c.hour,
    CAST(SUM(c.accepted) AS BIGINT), CAST(SUM(c.rate_limited) AS BIGINT),
    CAST(SUM(c.quota_refused) AS BIGINT), CAST(SUM(c.auth_refused) AS BIGINT),
    CAST(SUM(c.would_limit) AS BIGINT), CAST(SUM(c.answers_1xx) AS BIGINT),
    CAST(SUM(c.answers_2xx) AS BIGINT), CAST(SUM(c.answers_3xx) AS BIGINT),
    CAST(SUM(c.answers_4xx) AS BIGINT), CAST(SUM(c.answers_5xx) AS BIGINT), CAST(SUM(c.bytes_in) AS BIGINT),
    CAST(SUM(c.bytes_out) AS BIGINT), CAST(SUM(c.latency_us) AS BIGINT), MAX(c.last_accepted_at),
    MAX(c.last_refused_at)
FROM usage_owners o
JOIN usage_subjects s ON s.account_id = o.account_id AND s.environment = o.environment
    AND (o.account_key_id = '' OR s.account_key_id = o.account_key_id)
JOIN usage_counters c ON c.subject = s.id
GROUP BY o.id, c.hour;
INSERT INTO usage_totals (owner, unit, start,
    accepted, rate_limited, quota_refused, auth_refused, would_limit, answers_1xx, answers_2xx, answers_3xx,
    answers_4xx, answers_5xx, bytes_in, bytes_out, latency_us, last_accepted_at, last_refused_at)
SELECT o.id, c.unit, c.start,
    CAST(SUM(c.accepted) AS BIGINT), CAST(SUM(c.rate_limited) AS BIGINT),
    CAST(SUM(c.quota_refused) AS BIGINT), CAST(SUM(c.auth_refused) AS BIGINT),
    CAST(SUM(c.would_limit) AS BIGINT), CAST(SUM(c.answers_1xx) AS BIGINT),
    CAST(SUM(c.answers_2xx) AS BIGINT), CAST(SUM(c.answers_3xx) AS BIGINT),
    CAST(SUM(c.answers_4xx) AS BIGINT), CAST(SUM(c.answers_5xx) AS BIGINT), CAST(SUM(c.bytes_in) AS BIGINT),
    CAST(SUM(c.bytes_out) AS BIGINT), CAST(SUM(c.latency_us) AS BIGINT), MAX(c.last_accepted_at),
    MAX(c.last_refused_at)
FROM usage_owners o
JOIN usage_subjects s ON s.account_id = o.account_id AND s.environment = o.environment
    AND (o.account_key_id = '' OR s.account_key_id = o.account_key_id)
JOIN usage_subject_sums c ON c.subject = s.id
GROUP BY o.id, c.unit, c.start;

-- What an end customer used is the sum of its subjects.
DROP TABLE usage_customer_days;
-- What an account used in a day: the number that is enforced, shown and exported.
DROP TABLE usage_account_days;
CREATE VIEW usage_account_days AS
SELECT o.account_id, o.environment, t.start AS day, t.accepted, t.rate_limited + t.quota_refused AS limited,
    t.auth_refused AS refused
FROM usage_owners o JOIN usage_totals t ON t.owner = o.id
WHERE o.account_key_id = '' AND t.unit = 2;
