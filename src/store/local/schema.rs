//! The tables of the embedded store, step by step; a file knows how many steps it has seen. Steps are only ever added.

/// Dates are `YYYY-MM-DD`, times milliseconds since 1970.
pub(super) const SCHEMA: [&str; 1] = ["
    CREATE TABLE users (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        pronouns TEXT NOT NULL
    ) STRICT;
    CREATE TABLE health (
        id INTEGER PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id),
        field TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX health_of ON health (user, id);
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id),
        kind TEXT NOT NULL CHECK (kind IN ('journal', 'recap')),
        date TEXT,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX entries_newest ON entries (user, kind, date DESC, id);
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        persona TEXT NOT NULL,
        began_ms INTEGER NOT NULL,
        home TEXT NOT NULL,
        process TEXT NOT NULL,
        until_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        ending TEXT,
        talked_ms INTEGER,
        recap TEXT,
        details TEXT
    ) STRICT;
    CREATE INDEX sessions_newest ON sessions (user, began_ms DESC, id DESC);
    CREATE INDEX sessions_by_age ON sessions (began_ms);
    CREATE INDEX sessions_open ON sessions (until_ms) WHERE ended_ms IS NULL;
    CREATE TABLE lines (
        session TEXT NOT NULL REFERENCES sessions (id),
        number INTEGER NOT NULL,
        speaker TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (session, number)
    ) STRICT;
    CREATE TABLE erased (
        user BLOB PRIMARY KEY,
        at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE erased_sessions (
        id TEXT PRIMARY KEY,
        at_ms INTEGER NOT NULL
    ) STRICT;
"];
