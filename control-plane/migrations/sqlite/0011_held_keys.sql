-- A key that an operator, or the policy for leaked keys, has disabled: whose it is can't enable it again. What was
-- disabled before this could tell was disabled by an operator, but for users' own keys, where it may have been the user.
ALTER TABLE api_keys ADD COLUMN held_at BIGINT;
UPDATE api_keys SET held_at = updated_at WHERE state = 'disabled' AND origin <> 'user-keys';
