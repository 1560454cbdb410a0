"""Fakes of the ports and scripted peers, shipped so that users can test their own set-ups.

Tests call it; nothing of the running relay does.
"""
