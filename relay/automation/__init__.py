"""Events and workflow runs to mail: rules, templates, registrations, attachments.

Called by the API. It decides and renders; it stores nothing and sends nothing: `posting` takes what it made.
"""
