from __future__ import annotations

from pathlib import Path

import pytest

from relay.config.expand import Unresolved, expander
from relay.config.load import ConfigError, load


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("${A}", "alpha"),
        ("x${A}y${A}", "xalphayalpha"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$alpha"),
        ("$A", "$A"),
        ("a$", "a$"),
        ("$argon2id$v=19$m", "$argon2id$v=19$m"),
        ("${NESTED}", "${A}"),
        ("${EMPTY}", ""),
        ("", ""),
    ],
)
def test_references_and_dollars(text: str, wanted: str) -> None:
    assert expander({"A": "alpha", "NESTED": "${A}", "EMPTY": ""})(text) == wanted


@pytest.mark.parametrize("text", ["${", "${}", "${a-b}", "${1}", "${A", "${ A }"])
def test_malformed_references(text: str) -> None:
    with pytest.raises(Unresolved, match="write "):
        expander({"A": "x"})(text)


def test_the_order_of_looking_up(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("credentials", "secrets")]
    for folder in folders:
        folder.mkdir()
        (folder / "KEY").write_text(f"{folder.name}\n")
    (tmp_path / "named").write_text("named\r\n")
    environ = {
        "KEY": "environment",
        "KEY_FILE": str(tmp_path / "named"),
        "CREDENTIALS_DIRECTORY": str(folders[0]),
    }
    found = []
    for name in ("KEY", "KEY_FILE", "CREDENTIALS_DIRECTORY"):
        found.append(expander(environ, folders[1])("${KEY}"))
        del environ[name]
    found.append(expander(environ, folders[1])("${KEY}"))
    assert found == ["environment", "named", "credentials", "secrets"]


def test_only_one_trailing_newline_is_the_editors(tmp_path: Path) -> None:
    (tmp_path / "KEY").write_text(" a \n\n")
    assert expander({}, tmp_path)("${KEY}") == " a \n"


def test_unreadable_sources_name_cause_and_fix(tmp_path: Path) -> None:
    (tmp_path / "KEY").write_bytes(b"\xff\xfe")
    with pytest.raises(Unresolved, match="KEY is not UTF-8 text: write the secret alone into the file"):
        expander({}, tmp_path)("${KEY}")
    with pytest.raises(Unresolved, match=r"the file that KEY_FILE names cannot be read \(no such file or directory\)"):
        expander({"KEY_FILE": "/nowhere"}, tmp_path)("${KEY}")


def test_values_only_and_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text("# ${COMMENT} is left alone\nhostname: ${HOST}.example\nsender:\n  name: ${NAME}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOST": "mx"}, run_secrets=tmp_path)
    assert [(p.line, p.column) for p in caught.value.problems] == [(4, 9)]
    config = load(path, {"HOST": "mx", "NAME": "a: [b] # c"}).config
    assert (config.hostname, config.sender.name) == ("mx.example", "a: [b] # c")
