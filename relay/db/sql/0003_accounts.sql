-- Who may: users that were added by hand, and bearer tokens. Of a password an argon2 hash, of a token its SHA-256.
-- scopes: their names, with blanks between. user: whose session a token is, '' when an operator made it.
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at REAL NOT NULL
) WITHOUT ROWID;

-- An id is never used again: it stands in logs, and owns idempotency keys.
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    user TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL
);
CREATE UNIQUE INDEX token_name ON token (name) WHERE user = '';
