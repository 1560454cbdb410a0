-- What was told to the relay (events, workflow runs) and what it caused, each written with the messages of it.
-- id: as of a message, from the same source. outcome: JSON, as it was answered.
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    user TEXT NOT NULL,
    outcome TEXT NOT NULL
);
CREATE INDEX event_name ON event (name, id);
CREATE INDEX event_at ON event (at);

-- message: the id; lane: the kind; owed: the name; due_at: when; meta: the user; body: the outcome.
CREATE TRIGGER event INSTEAD OF INSERT ON change WHEN NEW.kind = 11 BEGIN
    INSERT INTO event (id, kind, name, at, user, outcome)
    VALUES (NEW.message, NEW.lane, NEW.owed, NEW.due_at, NEW.meta, CAST(NEW.body AS TEXT));
END;
