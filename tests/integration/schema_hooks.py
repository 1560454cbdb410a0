"""What schemathesis is told of the relay beside its description: loaded by it, by SCHEMATHESIS_HOOKS.

No provider of somebody else is asked after: what is a host name there is one of nobody's.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(host := body.get("smtp_host"), str) and 0 < len(host) < 200:
        return body | {"smtp_host": f"{host}.invalid"}
    return body


@schemathesis.serializer("message/rfc822")
def whole_mail(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
