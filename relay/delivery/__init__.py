"""What to do with mail that is owed: routes, limits, failover, retries, verdicts. Pure: `now` and randomness come in.

Called by worker, app and api; never waits, reads no clock, touches no file and no socket.
"""
