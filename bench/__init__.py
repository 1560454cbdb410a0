"""Postfix and the relay doing the same work by turns in the same run: `make bench`, or `python -m bench --help`.

Not part of the wheel. It starts servers of its own, on ports and in folders of its own, and never fails for being slow.
"""
