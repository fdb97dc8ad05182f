-- Why what a queue's jobs need is taken to be down: what the last job said that found it so.
ALTER TABLE report ADD COLUMN breaker_code TEXT;
ALTER TABLE report ADD COLUMN breaker_message TEXT;
