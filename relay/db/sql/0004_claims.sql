-- Idempotency keys in use, each written with the message it was used for and forgotten after a day.
-- what: a JSON array of the request's digest and what it was answered.
CREATE TABLE claim (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    at REAL NOT NULL,
    what TEXT NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX claim_at ON claim (at);

-- lane: the owner; owed: the key; due_at: when; meta: digest and answer. One that is a day old is as good as gone.
-- A key that is in use fails the operation it came with, its message included (relay/spool/keys.py).
CREATE TRIGGER claim INSTEAD OF INSERT ON change WHEN NEW.kind = 10 BEGIN
    SELECT RAISE(ABORT, 'claimed')
    WHERE EXISTS (SELECT 1 FROM claim WHERE owner = NEW.lane AND key = NEW.owed AND at > NEW.due_at - 86400);
    INSERT OR REPLACE INTO claim (owner, key, at, what) VALUES (NEW.lane, NEW.owed, NEW.due_at, NEW.meta);
END;
