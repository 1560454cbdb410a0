"""The composition root: `build` makes a plan of the configuration, `process` runs it, `offline` opens the spool alone.

Called by the command line, which loads of it only what a command needs.
"""
