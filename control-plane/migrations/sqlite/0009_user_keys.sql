-- Who holds Super_Dev sees every user's key of a kind of environment: without a walk over all other keys.
CREATE INDEX api_keys_of_users ON api_keys (environment, number) WHERE origin = 'user-keys';
