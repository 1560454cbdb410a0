"""What people manage: providers, users, tokens, and what providers did. Secrets at rest.

In the spool's database, beside the queue; built by `app`. It decides nothing about mail.
"""
