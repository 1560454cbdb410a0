"""The process in which templates are rendered: `python -I -m relay.automation.sandbox`.

Started and ended by `automation.process`, which it talks to over its standard input and output. Two walls: the
engine's own sandbox lets a template reach only the event's data, and the process may open nothing, grow little and is
killed when it takes long. It knows no secret, and nothing of the relay but the jobs it gets.
"""
