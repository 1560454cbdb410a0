"""The spool: where mail is kept from the moment we promise to until it is handed over or has failed for good.

`app` opens it; listener, api and worker see it through the ports. `memory` is the executable specification, `sqlite`
the one that lasts. It decides nothing about delivery.
"""
