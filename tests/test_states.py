"""The table of moves: every state can be reached and left as docs/delivery.md says, and nothing else moves a state."""

import ast
from pathlib import Path

import pytest

from app.states import (
    FINAL,
    LEASABLE,
    LEASED,
    MOVES,
    STAGED_STEPS,
    UNDER_WAY,
    ExamState,
    Step,
    may_move,
)
from app.store.exams import Exam

S = ExamState
ROOT = Path(__file__).parents[1]
BY_A_PERSON_OR_THE_POLL = {S.REVIEW, S.UNVERIFIED, S.FAILED, S.CANCELLED, S.GONE}


def reachable(start: set[ExamState]) -> set[ExamState]:
    found = set(start)
    while more := {to for state in found for to in MOVES[state]} - found:
        found |= more
    return found


def test_every_state_has_its_row_and_can_be_reached_from_the_first():
    assert set(MOVES) == set(ExamState)
    assert reachable({S.QUEUED}) == set(ExamState)


@pytest.mark.parametrize(
    ("index", "states"), [("ix_exams_due", {*LEASABLE, *LEASED}), ("ix_exams_unsettled", {*UNDER_WAY})]
)
def test_partial_indexes_name_the_states_that_are_looked_for(index, states):
    (where,) = (
        str(each.dialect_options["postgresql"]["where"])
        for each in Exam.__table__.indexes
        if each.name == index
    )
    assert {state for state in ExamState if f"'{state}'" in where} == states


@pytest.mark.parametrize("state", [state for state in ExamState if state is not S.DELIVERED])
def test_every_state_but_delivered_can_be_worked_on_again(state):
    assert S.DELIVERED in reachable({state})


def test_a_delivery_is_never_undone():
    assert reachable({S.DELIVERED}) == {S.DELIVERED, S.RUNNING} | reachable({S.RUNNING})
    assert MOVES[S.DELIVERED] <= {S.RUNNING, S.DELIVERED}


@pytest.mark.parametrize("state", sorted(BY_A_PERSON_OR_THE_POLL))
def test_final_states_are_left_only_for_the_queue_or_a_wait(state):
    assert state in FINAL
    assert MOVES[state] <= {S.QUEUED, S.WAITING, S.CANCELLED}
    assert not may_move(state, S.RUNNING)


@pytest.mark.parametrize(
    "odd",
    [
        ("queued", "delivered"),
        ("waiting", "review"),
        ("gone", "running"),
        ("nonsense", "queued"),
        ("queued", "nonsense"),
    ],
)
def test_odd_moves_are_refused(odd):
    assert not may_move(*odd)


def test_the_first_and_last_steps_stage_nothing():
    assert {Step.VERIFY, Step.FETCH, Step.CONFIRM, Step.REPORT}.isdisjoint(STAGED_STEPS)


def states_set_in(tree: ast.AST) -> list[int]:
    """Lines that write a `state` with a value of ExamState: an attribute of a row, or a column of an UPDATE."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                written = isinstance(target, ast.Attribute) and target.attr == "state"
                if written and "ExamState" in ast.unparse(node.value):
                    lines.append(node.lineno)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".values"):
            lines += [
                part.value.lineno
                for part in node.keywords
                if part.arg == "state" and "ExamState" in ast.unparse(part.value)
            ]
    return lines


def test_only_the_store_of_exams_writes_a_state():
    writers = {
        str(path.relative_to(ROOT))
        for folder in ("app", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if states_set_in(ast.parse(path.read_text("utf-8")))
    }
    assert writers == {"app/store/exam_leases.py", "app/store/exam_waiting.py"}
    assert states_set_in(ast.parse("def f(exam):\n    exam.state = ExamState.FAILED")) == [2]
    assert states_set_in(ast.parse("update(Exam).values(state=ExamState.FAILED)")) == [1]
