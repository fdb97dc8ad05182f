-- Why what a queue's jobs need is taken to be down: what the last job said that found it so.
ALTER TABLE longshore.report
    ADD COLUMN breaker_code text,
    ADD COLUMN breaker_message text;
