"""The relay over HTTP, and the operations behind it.

`server` runs it, `operations` is shared with the command line. Only `app`, `server` and the resources import FastAPI
and uvicorn: the command line must start without them.
"""
