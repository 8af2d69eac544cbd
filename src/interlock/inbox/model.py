"""What waits for a person."""

from typing import Any, Literal

import msgspec

ItemKind = Literal["approval", "question", "parked_effect", "proposal", "alarm"]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a person has to decide or to know.

    ``subject`` names what it is about (``plan:…``, ``run:…/task``, ``incident:…``); ``options`` are the answers it takes; it is
    open until ``answer`` is one of them, or ``withdrawn`` because the matter settled itself.
    """

    item_id: str
    kind: ItemKind
    subject: str
    title: str
    options: tuple[str, ...]
    details: dict[str, Any]
    state: Literal["open", "answered", "withdrawn"]
    created_at: str
    answer: str = ""
    answered_by: str = ""
    answered_at: str = ""
