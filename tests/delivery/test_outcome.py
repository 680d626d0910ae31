"""What each class of error means for an exam (docs/delivery.md, "Errors and what they do"), and how long a wait is."""

import pytest

from app import errors
from app.delivery.outcome import (
    LOCAL_CAP_SECONDS,
    LOCAL_SECONDS,
    GiveBack,
    NeedsPerson,
    Rest,
    Wait,
    decide,
)
from app.states import ExamState, Reason
from app.upstreams.gate import Held, backoff

BASE, CAP = 5.0, 3600.0


def of(error, attempts=0):
    return decide(error, attempts=attempts, base=BASE, cap=CAP)


@pytest.mark.parametrize(
    "error",
    [errors.TryLater, errors.LookFirst, errors.CaptureUrlExpired, errors.StillProcessing, errors.BadAnswer],
)
def test_transient_and_ambiguous_are_tried_again_and_counted(error):
    outcome = of(error("later"))
    assert isinstance(outcome, Wait)
    assert (outcome.reason, outcome.counted) == (Reason.RETRY, True)
    assert BASE / 2 <= outcome.seconds <= BASE


def test_a_wait_that_the_upstream_asked_for_is_kept():
    assert of(errors.TryLater("busy", retry_after=120.0)).seconds >= 120.0


def test_throttled_waits_as_told_and_is_not_counted():
    outcome = of(errors.SlowDown("slow", retry_after=7.0))
    assert (outcome.reason, outcome.seconds, outcome.counted) == (Reason.THROTTLED, 7.0, False)
    assert of(errors.SlowDown("slow")).seconds > 0


@pytest.mark.parametrize("reason", [Reason.PAUSED, Reason.THROTTLED, Reason.SETTLING, Reason.RETRY])
def test_a_held_account_makes_the_exam_wait_uncounted(reason):
    outcome = of(Held(reason, 9.0, "held"))
    assert (outcome.reason, outcome.seconds, outcome.counted) == (reason, 9.0, False)


@pytest.mark.parametrize("error", [errors.LocalTrouble, errors.DiskFull])
def test_local_trouble_gives_the_exam_back(error):
    given = of(error("here"))
    assert isinstance(given, GiveBack)
    assert given.code == error.kind


def test_the_more_often_an_exam_was_given_back_the_longer_it_waits():
    waits = [
        decide(errors.LocalTrouble("x"), attempts=0, base=BASE, cap=CAP, counts={"given_back": n})
        for n in range(40)
    ]
    assert all(LOCAL_SECONDS <= one.seconds <= LOCAL_CAP_SECONDS for one in waits)
    assert waits[0].seconds == LOCAL_SECONDS
    assert max(one.seconds for one in waits) > 2 * LOCAL_SECONDS


@pytest.mark.parametrize("error", [errors.Rejected, errors.NotThere, errors.GiveUp, errors.NotAllowed])
def test_permanent_fails_with_the_upstreams_code_and_words(error):
    outcome = of(error("The label is taken.", upstream="aurabox"))
    assert isinstance(outcome, Rest)
    assert outcome.state == ExamState.FAILED
    assert outcome.code == f"aurabox_{error.kind}"
    assert outcome.message == "The label is taken."


def test_what_a_person_must_decide_goes_to_review():
    assert of(NeedsPerson("look", code="several_matches")) == Rest(
        ExamState.REVIEW, "several_matches", "look"
    )


@pytest.mark.parametrize(
    ("attempts", "least", "most"),
    [(1, 2.5, 5), (2, 2.5, 10), (3, 2.5, 20), (10, 2.5, 2560), (12, 2.5, 3600), (10_000, 2.5, 3600)],
)
def test_backoff_doubles_up_to_its_cap_with_full_jitter(attempts, least, most):
    assert backoff(attempts, base=BASE, cap=CAP, draw=0.0) == least
    assert backoff(attempts, base=BASE, cap=CAP, draw=0.999999) == pytest.approx(most, rel=0.01)
    assert least <= backoff(attempts, base=BASE, cap=CAP) <= most
