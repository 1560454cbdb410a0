"""Logs and metrics: observers at the edge of the relay.

`app` builds them and hands them to whoever emits events. Nothing here decides anything or waits for anything.
"""
