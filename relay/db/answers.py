"""What the database says as one value of JSON: each row SQLite hands over costs a fight for the GIL.

Called by whoever reads much, on the threads of the database. It never lets one damaged row hide the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw

from relay.db.errors import StorageFailed, StorageFull, Trouble, trouble


def answer(connection: apsw.Connection, statement: str, values: Any = ()) -> Any:
    """The statement's one value, which is JSON.

    A flipped bit makes text that is no UTF-8. Its bytes come back as lone surrogates: nothing that was written has any,
    so who decodes the row knows that it is damaged, and the other rows are read.
    """
    found: list[Any] = connection.execute(f"SELECT CAST(({statement}) AS BLOB)", values).fetchall()
    return json.loads(bytes(found[0][0]).decode("utf-8", "surrogateescape"))


def is_damage(error: Exception) -> bool:
    """True when it is what lies in these rows that cannot be read; false when the disk is full or fails."""
    return trouble(error) is Trouble.OWN and not isinstance(error, StorageFull | StorageFailed)


def answer_each(connection: apsw.Connection, statement: str, numbers: Sequence[int]) -> tuple[list[Any], list[int]]:
    """A list that has an item for each of the numbers that are there, and those that cannot be read."""
    try:
        return list(answer(connection, statement, (json.dumps(numbers),))), []
    except Exception as error:
        if not is_damage(error):
            raise
        if len(numbers) == 1:
            return [], list(numbers)
    middle = len(numbers) // 2
    some, lost = answer_each(connection, statement, numbers[:middle])
    more, too = answer_each(connection, statement, numbers[middle:])
    return some + more, lost + too
