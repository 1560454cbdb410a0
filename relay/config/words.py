"""Did you mean: the suggestion at the end of a sentence about a wrong word.

Called wherever a name or a choice is refused. It shows only words that are right, never the one that was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable

# What people write for a choice, from other programs or from YAML 1.1's booleans: the first that is a choice is meant.
_MEANT = {
    **dict.fromkeys(("no", "off", "false", "0", "never", "disabled", "plaintext"), ("none", "off")),
    **dict.fromkeys(("yes", "on", "true", "1", "tls", "start_tls"), ("starttls", "required", "auto")),
    **dict.fromkeys(("ssl", "smtps", "ssl/tls", "tls/ssl"), ("implicit",)),
    **dict.fromkeys(("lf", "crlf", "fix"), ("normalize",)),
    **dict.fromkeys(("text", "plain", "pretty"), ("console",)),
    **dict.fromkeys(("warn",), ("warning",)),
}


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or ""."""
    from difflib import get_close_matches  # only for a wrong word: it costs 10 ms to import

    candidates = {name.lower(): name for name in known}
    meant = next((name for name in _MEANT.get(word.lower(), ()) if name in candidates), None)
    near = [meant] if meant else get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    return candidates[near[0]] if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'none'?`, or "" when nothing is near."""
    near = closest(word, known)
    return f", did you mean {near!r}?" if near else ""


def listing(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *front, last = words
    return f"{', '.join(front)} or {last}" if front else last
