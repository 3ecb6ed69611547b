-- What users of surfaces 3 and 4 may do. A deleted user keeps its row and its `sub`: tokens that were issued for
-- the one who left must never mean somebody else.
ALTER TABLE users ADD COLUMN permissions TEXT NOT NULL DEFAULT '[]';  -- JSON array
ALTER TABLE users ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN deleted_at BIGINT;
CREATE INDEX users_of_account ON users (account_id, created_at DESC, id DESC);
CREATE INDEX api_keys_of_user ON api_keys (user_id, environment) WHERE user_id IS NOT NULL;
CREATE INDEX api_keys_of_origin ON api_keys (account_id, environment, origin, number);
