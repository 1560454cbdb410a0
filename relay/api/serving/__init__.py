"""How requests reach the application: sockets, bounds, patience, and who may.

From the outside in: `gate` accepts, `connection` parses, `guards` bound, `entrance` asks who it is; `server` joins
them, `door` loads all of it late. Nothing here knows a resource.
"""
