"""The configuration: one schema, read from YAML and the environment, checked, turned into what the rooms use.

`app` and `cli` call `load.find`, `load.load` and `build`; nothing here opens a socket or changes a file.
"""
