-- What people manage, and what providers did.

-- Every provider that ever was; a number is never given twice. Of one in the configuration file (origin 'file') only
-- its name is here, and what is not in the file. settings: JSON, without the password; secret: that, encrypted.
CREATE TABLE provider (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    origin TEXT NOT NULL,
    settings TEXT NOT NULL DEFAULT '',
    secret TEXT,
    is_default INTEGER NOT NULL DEFAULT 0,
    health TEXT NOT NULL DEFAULT '{}',
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    deleted_at REAL
);
CREATE UNIQUE INDEX provider_name ON provider (origin, name) WHERE deleted_at IS NULL;

-- Encrypted with the first secret: who cannot decrypt it has another key (relay/store/vault.py).
CREATE TABLE canary (one INTEGER PRIMARY KEY CHECK (one = 1), secret TEXT NOT NULL);

-- day: of the provider's calendar, 2026-11-21. See Counts in relay/model/registry.py.
CREATE TABLE statistic (
    provider INTEGER NOT NULL,
    day TEXT NOT NULL,
    taken INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (provider, day)
) WITHOUT ROWID;
