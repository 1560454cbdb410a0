"""What schemathesis is told of the relay beside its description: loaded by it, by SCHEMATHESIS_HOOKS.

No provider of somebody else is asked after: what is a host name there is one of nobody's.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    if isinstance(options := body.get("options"), dict):
        body = body | {"options": _of_nobody(options, "host")}
    return _of_nobody(body, "smtp_host")


def _of_nobody(settings: dict[str, Any], name: str) -> dict[str, Any]:
    host = settings.get(name)
    return settings | {name: f"{host}.invalid"} if isinstance(host, str) and 0 < len(host) < 200 else settings


@schemathesis.serializer("message/rfc822")
def whole_mail(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
