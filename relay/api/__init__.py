"""The relay over HTTP: a file for each resource, `operations` behind them, `serving` in front of them.

`create_app` joins the resources; the command line asks the same application. Only what is loaded late imports FastAPI
and uvicorn: a relay must start, and take mail, without them.
"""
