"""The SMTP protocol without I/O: bytes in, values out.

Listener, upstream and worker call it. It never opens a socket, reads a clock or waits.
"""
