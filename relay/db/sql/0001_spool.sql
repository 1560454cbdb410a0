-- The queue, what became of it, and what providers have used.
-- States are numbered in the order in which a message shows them: queued 0, sending 1, deferred 2, scheduled 3, held 4,
-- captured 5, accepted 6, failed 7, expired 8, cancelled 9.

-- body last: what stands before it is read without it. NULL: the body is a file named by the id. crc: see
-- relay/spool/seals.py; of a file as of a body in the row.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    meta TEXT NOT NULL,
    size INTEGER NOT NULL,
    received_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    prefix BLOB NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB
);

-- waiting: 1 while it may become due. A row that is leased, held or captured touches no index.
CREATE TABLE entry (
    message INTEGER NOT NULL,
    part INTEGER NOT NULL,
    lane TEXT NOT NULL,
    state INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    due_at REAL NOT NULL,
    deadline REAL NOT NULL,
    wish TEXT NOT NULL DEFAULT '',
    owed TEXT NOT NULL,
    PRIMARY KEY (message, part)
) WITHOUT ROWID;
CREATE INDEX entry_due ON entry (lane, due_at) WHERE waiting = 1;
CREATE INDEX entry_deadline ON entry (deadline) WHERE waiting = 1;
CREATE INDEX entry_captured ON entry (message) WHERE state = 5;

-- What happened to a message that is not ended yet; what: items of a JSON array, without its brackets.
-- state: the first in order of the recipients that ended in it, else NULL.
CREATE TABLE past (
    message INTEGER NOT NULL,
    n INTEGER NOT NULL,
    state INTEGER,
    what TEXT NOT NULL,
    PRIMARY KEY (message, n)
) WITHOUT ROWID;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    ended_at REAL NOT NULL,
    state INTEGER NOT NULL,
    size INTEGER NOT NULL,
    received_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    meta TEXT NOT NULL,
    past TEXT NOT NULL
);
CREATE INDEX history_ended ON history (ended_at, state);

-- Quota taken and not ended; what ended lately (the minute); what a calendar period has used.
CREATE TABLE reservation (id INTEGER PRIMARY KEY, provider TEXT NOT NULL, amount INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE spent (provider TEXT NOT NULL, at REAL NOT NULL, amount INTEGER NOT NULL);
CREATE INDEX spent_at ON spent (at);
CREATE TABLE counter (
    provider TEXT NOT NULL,
    period TEXT NOT NULL,
    amount INTEGER NOT NULL,
    touched_at REAL NOT NULL,
    PRIMARY KEY (provider, period)
) WITHOUT ROWID;

-- Rows inserted here are carried out by the triggers below, a whole transaction in one statement (relay/db/changes.py).
CREATE VIEW change AS
SELECT NULL AS kind, NULL AS message, NULL AS part, NULL AS lane, NULL AS state, NULL AS waiting, NULL AS due_at,
       NULL AS deadline, NULL AS owed, NULL AS meta, NULL AS size, NULL AS received_at, NULL AS expires_at,
       NULL AS prefix, NULL AS crc, NULL AS body
WHERE 0;

CREATE TRIGGER arrive INSTEAD OF INSERT ON change WHEN NEW.kind = 1 BEGIN
    INSERT INTO message (id, meta, size, received_at, expires_at, prefix, crc, body)
    VALUES (NEW.message, NEW.meta, NEW.size, NEW.received_at, NEW.expires_at, NEW.prefix, NEW.crc, NEW.body);
    INSERT INTO entry (message, part, lane, state, waiting, due_at, deadline, owed)
    VALUES (NEW.message, 0, NEW.lane, NEW.state, NEW.waiting, NEW.due_at, NEW.deadline, NEW.owed);
END;

CREATE TRIGGER owe INSTEAD OF INSERT ON change WHEN NEW.kind = 2 BEGIN
    INSERT INTO entry (message, part, lane, state, waiting, due_at, deadline, owed)
    VALUES (NEW.message, (SELECT max(part) + 1 FROM entry WHERE message = NEW.message),
            NEW.lane, NEW.state, NEW.waiting, NEW.due_at, NEW.deadline, NEW.owed);
END;

-- An entry is consumed. With it the message ends, if nothing of it is left: history instead of body and past.
CREATE TRIGGER done INSTEAD OF INSERT ON change WHEN NEW.kind = 3 BEGIN
    DELETE FROM entry WHERE message = NEW.message AND part = NEW.part;
    INSERT INTO past (message, n, state, what)
    SELECT NEW.message, coalesce((SELECT max(n) + 1 FROM past WHERE message = NEW.message), 0), NEW.state, NEW.owed
    WHERE NEW.owed <> '' AND EXISTS (SELECT 1 FROM entry WHERE message = NEW.message);
    INSERT INTO history (id, ended_at, state, size, received_at, expires_at, meta, past)
    SELECT id, NEW.due_at,
           min(coalesce(NEW.state, 9), coalesce((SELECT min(state) FROM past WHERE message = NEW.message), 9)),
           size, received_at, expires_at, meta,
           '[' || coalesce((SELECT group_concat(what, ',' ORDER BY n) FROM past WHERE message = NEW.message)
                           || iif(NEW.owed = '', '', ','), '') || NEW.owed || ']'
    FROM message WHERE id = NEW.message AND NOT EXISTS (SELECT 1 FROM entry WHERE message = NEW.message);
    DELETE FROM past WHERE message = NEW.message AND NOT EXISTS (SELECT 1 FROM entry WHERE message = NEW.message);
    DELETE FROM message WHERE id = NEW.message AND NOT EXISTS (SELECT 1 FROM entry WHERE message = NEW.message);
END;

CREATE TRIGGER lease INSTEAD OF INSERT ON change WHEN NEW.kind = 4 BEGIN
    UPDATE entry SET state = 1, waiting = 0 WHERE message = NEW.message AND part = NEW.part;
END;

CREATE TRIGGER revise INSTEAD OF INSERT ON change WHEN NEW.kind = 5 BEGIN
    UPDATE entry
    SET lane = NEW.lane, state = NEW.state, waiting = NEW.waiting, due_at = NEW.due_at, deadline = NEW.deadline,
        owed = NEW.owed
    WHERE message = NEW.message AND part = NEW.part;
END;

CREATE TRIGGER wish INSTEAD OF INSERT ON change WHEN NEW.kind = 6 BEGIN
    UPDATE entry SET wish = NEW.owed WHERE message = NEW.message AND part = NEW.part;
END;

CREATE TRIGGER note INSTEAD OF INSERT ON change WHEN NEW.kind = 7 BEGIN
    INSERT INTO past (message, n, what)
    SELECT NEW.message, coalesce((SELECT max(n) + 1 FROM past WHERE message = NEW.message), 0), NEW.owed
    WHERE EXISTS (SELECT 1 FROM entry WHERE message = NEW.message);
END;

-- message: the reservation's id; lane: the provider; size: the amount; owed: the periods, a JSON array.
CREATE TRIGGER reserve INSTEAD OF INSERT ON change WHEN NEW.kind = 8 BEGIN
    INSERT INTO reservation (id, provider, amount, at) VALUES (NEW.message, NEW.lane, NEW.size, NEW.due_at);
    INSERT INTO counter (provider, period, amount, touched_at)
    SELECT NEW.lane, value, NEW.size, NEW.due_at FROM json_each(NEW.owed) WHERE true
    ON CONFLICT (provider, period) DO UPDATE
    SET amount = amount + excluded.amount, touched_at = excluded.touched_at;
END;

-- As above; size: what was taken, part: what is given back.
CREATE TRIGGER spend INSTEAD OF INSERT ON change WHEN NEW.kind = 9 BEGIN
    UPDATE counter SET amount = amount - NEW.part
    WHERE NEW.part <> 0 AND provider = NEW.lane AND period IN (SELECT value FROM json_each(NEW.owed))
      AND EXISTS (SELECT 1 FROM reservation WHERE id = NEW.message);
    INSERT INTO spent (provider, at, amount)
    SELECT provider, NEW.due_at, NEW.size FROM reservation WHERE id = NEW.message AND NEW.size > 0;
    DELETE FROM reservation WHERE id = NEW.message;
END;
