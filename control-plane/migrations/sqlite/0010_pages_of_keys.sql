-- Pages of a company's account keys, newest first: all of them, and those that nobody ended. What the pages and
-- their totals are decided by is in the indexes, what is the same for every row too: SQLite reads an index alone
-- only when it names every column. Customer keys, of which there are many more, are in neither.
CREATE INDEX api_keys_of_company ON api_keys (account_id, environment, number, state, expires_at, customer_id)
    WHERE customer_id IS NULL;
CREATE INDEX api_keys_of_company_active ON api_keys (account_id, environment, number, state, expires_at, customer_id)
    WHERE customer_id IS NULL AND state = 'active';
