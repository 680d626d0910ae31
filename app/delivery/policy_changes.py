"""What a change of an organisation's policy means for an exam that was begun under the one before; pure, no I/O."""

from enum import Enum

from app.store.organizations import BurnedIn, IdentityPolicy, Images, PolicyFields

# who the exam is filed as; decided at match, and unlike the rest it names or hides a person
OF_SUBJECT = ("identity", "keep_birth_date")
# how a subject that is not known yet is looked for and made
OF_MATCHING = (*OF_SUBJECT, "incomplete", "animals", "match_existing", "corrections")
# what the objects show
OF_IMAGES = ("burned_in", "masks", "video", "timezone")
OF_TRANSPORT = ("images",)

HIDING = (BurnedIn.NO, BurnedIn.UNKNOWN, BurnedIn.MASK)


class Redo(Enum):
    """What has to be done again."""

    #: the exam goes on under the policy that it was begun with
    NOTHING = "nothing"
    #: only the filing is written anew: nothing was made that the change touches
    FILING = "filing"
    #: the images that were made
    IMAGES = "images"
    #: the subject, and with it the study and the images
    SUBJECT = "subject"
    #: all of it, for another organisation
    LINK = "link"
    #: a person decides: images were sent, and the new policy hides more than the old one did
    PERSON = "person"


def redo(begun: PolicyFields, now: PolicyFields, *, matched: bool, sent: bool) -> Redo:
    """What `now` means for an exam begun under `begun`. `sent`: an image of it left already."""
    changed = {
        name
        for name in (*OF_MATCHING, *OF_IMAGES, *OF_TRANSPORT)
        if getattr(begun, name) != getattr(now, name)
    }
    if not matched:
        return Redo.FILING
    if sent:
        return Redo.PERSON if is_stricter(now, begun) else Redo.NOTHING
    if changed & set(OF_SUBJECT):
        return Redo.SUBJECT
    if changed & set(OF_IMAGES):
        return Redo.IMAGES
    return Redo.FILING


def is_stricter(policy: PolicyFields, than: PolicyFields) -> bool:
    """Whether a policy hides something that the other one shows."""
    return (
        (policy.identity == IdentityPolicy.DEIDENTIFIED and than.identity != IdentityPolicy.DEIDENTIFIED)
        or (than.keep_birth_date and not policy.keep_birth_date)
        or HIDING.index(BurnedIn(policy.burned_in)) > HIDING.index(BurnedIn(than.burned_in))
        or any(mask not in than.masks for mask in policy.masks)
        or (policy.images == Images.NONE and than.images != Images.NONE)
    )
