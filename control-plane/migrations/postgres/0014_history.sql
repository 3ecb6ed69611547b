-- Names the whole log up to this change: 32 bytes, made of the name before and of the change. Empty in changes of
-- earlier versions.
ALTER TABLE changes ADD COLUMN history BYTEA;

-- The few end customers with limits of their own: a snapshot looks each key's customer up among them.
CREATE INDEX end_customers_limited ON end_customers (account_id, environment, id) WHERE rate_limit IS NOT NULL;
