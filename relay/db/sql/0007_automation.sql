-- What people manage of automation: rules made over HTTP, integrations that were set up, and what those are attached to.

-- document: JSON, as it was written, without its name. event stands in there, too: an event that fires a rule of which
-- the document is damaged must be able to say so. Large values come last, so that the others are read without them.
CREATE TABLE workflow (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    version INTEGER NOT NULL,
    changed_at REAL NOT NULL,
    changed_by TEXT NOT NULL,
    document TEXT NOT NULL
);

-- What they were before: see KEPT in relay/store/workflow_rows.py.
CREATE TABLE workflow_version (
    workflow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    changed_at REAL NOT NULL,
    changed_by TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (workflow, version)
);

-- A number is never given twice: mail that waits names it. options: JSON, without the password; secret: that, encrypted.
CREATE TABLE registration (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    integration TEXT NOT NULL,
    options TEXT NOT NULL,
    secret TEXT NOT NULL,
    created_at REAL NOT NULL
);

-- workflow: only a name, not of the table above.
CREATE TABLE attachment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow TEXT NOT NULL,
    registration INTEGER NOT NULL,
    options TEXT NOT NULL,
    created_at REAL NOT NULL
);
