"""The SMTP service applications talk to. The only importer of aiosmtpd.

`app` builds a `server.Listener` for each configured listener; it accepts mail and never delivers any.
"""
