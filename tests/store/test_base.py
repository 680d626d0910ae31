"""Ids that lie side by side."""

import uuid

from app.store.base import ordered_uuid


def test_ids_are_in_the_order_in_which_they_were_made_and_no_two_are_one():
    ids = [ordered_uuid() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    # within a millisecond they are in no order
    moments = [one.int >> 80 for one in ids]
    assert moments == sorted(moments)
