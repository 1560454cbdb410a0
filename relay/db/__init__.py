"""One SQLite file and the threads that own it.

Used by the rooms that keep things (`spool`); opened by them, never by name from elsewhere.
It knows how to write and read durably; it never decides what a mail relay does.
"""
