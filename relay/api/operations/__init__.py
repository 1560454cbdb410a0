"""What people can do with a relay, over plain JSON-able data: one file for each noun of the API.

Called by the resources. They check what they are given, ask a port, and show the answer; refusals are `Refusal`.
"""
