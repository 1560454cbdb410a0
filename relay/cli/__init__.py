"""The `relay` command: one file for each noun, `main` joins them.

Commands speak HTTP to a running relay; only `run` starts one.
"""
