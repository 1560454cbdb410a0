"""The way out: connections to providers by SMTP, kept and pipelined.

`app` builds SmtpTransport (smtp.py); the only room that imports aiosmtplib (connect.py). Never decides where mail goes.
"""
