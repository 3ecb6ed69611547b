-- Pages of a company's account keys, newest first: all of them, and those that nobody ended. What the pages and
-- their totals are decided by is in the indexes. Customer keys, of which there are many more, are in neither.
CREATE INDEX api_keys_of_company ON api_keys (account_id, environment, number, state, expires_at)
    WHERE customer_id IS NULL;
CREATE INDEX api_keys_of_company_active ON api_keys (account_id, environment, number, expires_at)
    WHERE customer_id IS NULL AND state = 'active';
