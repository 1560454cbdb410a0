"""From what a person says to a message: MIME, its sender, its envelope. Pure; the standard library's `email` does MIME.

Used by `api`, later by whatever else composes mail. It never stores or sends, and gets the time passed in.
"""
