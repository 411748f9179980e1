ALTER TABLE sandpiper_keys ADD COLUMN meaning TEXT
