"""Says in a clinician's words where an exam or a link stands; no code without an explanation."""

from app.states import ExamState, LinkState, Reason, Step
from app.store.exam_view import ImagesItem
from app.store.image_counts import ImageCounts

EXAM_WORDS: dict[str, tuple[str, str, str]] = {
    ExamState.QUEUED: ("under way", "In the queue", "It is next in line and needs nothing from you."),
    ExamState.RUNNING: ("under way", "On its way", "It is being worked on right now."),
    ExamState.WAITING: ("under way", "Waiting", "It goes on by itself."),
    ExamState.DELIVERED: ("done", "In Aurabox", "It is filed in Aurabox."),
    ExamState.REVIEW: ("stopped", "Needs a decision", "Your administrator has to decide how it is filed."),
    ExamState.UNVERIFIED: (
        "stopped",
        "Not known to Clarius",
        "Clarius does not list this exam as submitted, so it was not taken. Submit it again from Clarius.",
    ),
    ExamState.FAILED: (
        "stopped",
        "Not delivered",
        "Something stands in its way. Your administrator can see what, and can try it again.",
    ),
    ExamState.CANCELLED: ("stopped", "Cancelled", "An administrator stopped it."),
    ExamState.GONE: (
        "stopped",
        "Deleted in Clarius",
        "It was deleted in Clarius before it could be fetched. Submit it again if it is needed.",
    ),
}

# what administrators read instead, because they can do something about it; None: the same
ADMIN_WORDS: dict[str, str | None] = {
    ExamState.QUEUED: None,
    ExamState.RUNNING: None,
    ExamState.WAITING: None,
    ExamState.DELIVERED: None,
    ExamState.REVIEW: "It waits for a decision of yours.",
    ExamState.UNVERIFIED: (
        "Clarius does not list this request. Try again to ask anew, or release it if you vouch for it."
    ),
    ExamState.FAILED: "Something stands in its way. Once that is put right, try it again.",
    ExamState.CANCELLED: "A person stopped it. Trying again takes that back.",
    ExamState.GONE: "It was deleted in Clarius before it could be fetched.",
}

WAITING_WORDS: dict[str, str] = {
    Reason.LINK: "It waits until its Clarius account is linked.",
    Reason.RETRY: "Something did not answer. It is tried again by itself.",
    Reason.THROTTLED: "It was asked to slow down, and goes on by itself.",
    Reason.PAUSED: "An access key is refused. Your administrators have been told; it goes on once that is fixed.",
    Reason.SETTLING: "It makes sure that nothing is created twice, then goes on by itself.",
}

STEP_WORDS: dict[str, str] = {
    Step.VERIFY: "asking Clarius about it",
    Step.FETCH: "reading the exam",
    Step.DOWNLOAD: "fetching the images",
    Step.MATCH: "finding the patient",
    Step.STUDY: "making the study",
    Step.CONVERT: "preparing the images",
    Step.SEND: "sending the images",
    Step.CONFIRM: "checking what arrived",
    Step.REPORT: "sending a receipt to Clarius",
}

LINK_WORDS: dict[str, tuple[str, str, str]] = {
    LinkState.PENDING: ("under way", "Waiting for Clarius", "Clarius has not confirmed it yet."),
    LinkState.CONFIRMED: ("done", "Linked", "New exams go to Aurabox by themselves."),
    LinkState.REFUSED: ("stopped", "Refused by Clarius", "Start again from Clarius."),
    LinkState.DISCONNECTED: ("stopped", "Ended", "No new exams are taken. What was delivered stays."),
}


def exam_words(
    state: str, step: str, reason: str | None, images: ImageCounts | ImagesItem | None = None
) -> tuple[str, str, str]:
    """(tone, label, explanation) of an exam; the tone is `done`, `under way` or `stopped`.

    A delivered exam's explanation says of them what is known, and no more.
    """
    # what a newer version wrote, and this one has no words for, is shown as it is
    tone, label, text = EXAM_WORDS.get(state, ("under way", state, ""))
    if state == ExamState.WAITING and reason is not None:
        text = WAITING_WORDS.get(reason, reason)
    if state == ExamState.RUNNING:
        text = f"Now {STEP_WORDS.get(step, step)}."
    if state == ExamState.DELIVERED and images is not None:
        text = f"{text} {image_words(images)}"
    return tone, label, text


def exam_words_for_admins(
    state: str, step: str, reason: str | None, images: ImageCounts | ImagesItem | None = None
) -> tuple[str, str, str]:
    """The same, to those who can do something about it."""
    tone, label, text = exam_words(state, step, reason, images)
    return tone, label, ADMIN_WORDS.get(state) or text


def image_words(images: ImageCounts | ImagesItem) -> str:
    """What is known of an exam's images, as a sentence."""
    total, accepted, seen = images.wanted, images.accepted, images.seen
    if not total:
        return "Its images are not sent there." if images.why else "It has no images."
    there, verb = (accepted, "accepted") if seen is None else (seen, "counted")
    if there == total:
        all_of = "Its image was" if total == 1 else f"All {total} images were"
        return f"{all_of} {verb} there."
    return f"{there} of {total} images were {verb} there."


def link_words(state: str) -> tuple[str, str, str]:
    """(tone, label, explanation) of a link."""
    return LINK_WORDS.get(state, ("under way", state, ""))


BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str | None) -> str:
    """`Chrome on Windows`: enough for a person to know their own browser by."""
    agent = user_agent or ""
    browser = next((name for mark, name in BROWSERS if mark in agent), "A browser")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    return f"{browser} on {system}" if system else browser
