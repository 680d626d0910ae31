"""`org`, `user`, `token`, `link` by command: the names of the interface, secrets from stdin, nothing secret shown."""

from uuid import UUID

from sqlalchemy import select

from app.resources import Resources
from app.states import ExamState
from app.store.audit import AuditEvent
from app.store.exams import Exam
from tests.cli.conftest import Cli
from tests.support.clarius import Sandbox
from tests.support.exams import add_exam

KEY = "aura-key-0123456789"


async def _actions(resources: Resources) -> list[str]:
    async with resources.sessions() as session:
        return list(await session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))


def test_an_organisation_from_add_to_remove(cli: Cli) -> None:
    made = cli.right(
        *("org", "add", "--name", "Harbour Clinic", "--aurabox-key-stdin", "--dicomweb-token-stdin"),
        *(
            "--images",
            "dicomweb",
            "--dicomweb-url",
            "https://pacs.example/dicom",
            "--timezone",
            "Australia/Hobart",
        ),
        *("--burned-in", "mask", "--mask", "0,0,640,48", "--mask", "0,400,640,80", "--report"),
        given=f"{KEY}\ntoken-of-the-pacs\n",
    )
    assert made["name"] == "Harbour Clinic"
    assert made["masks"] == [[0, 0, 640, 48], [0, 400, 640, 80]]
    assert (made["has_aurabox_key"], made["has_dicomweb_token"], made["has_service_key"]) == (
        True,
        True,
        False,
    )
    assert "already" in cli.wrong("org", "add", "--name", "Harbour Clinic", "--aurabox-key-stdin", given=KEY)
    changed = cli.right("org", "set", "Harbour Clinic", "--no-report", "--name", "Harbour")
    assert (changed["report"], changed["name"], changed["timezone"]) == (False, "Harbour", "Australia/Hobart")
    assert cli.right("org", "show", made["id"]) == changed
    assert [one["name"] for one in cli.right("org", "list")] == ["Harbour"]
    assert "Harbour" in cli("org", "list").out
    assert cli.right("org", "remove", "Harbour")["removed"] is True
    assert cli.right("org", "list") == []
    assert cli.within(_actions) == ["organization.add", "organization.change", "organization.remove"]


def test_a_key_may_come_from_the_environment_and_is_never_shown(cli: Cli) -> None:
    done = cli("org", "add", "--name", "A", "--json", AURABOX_KEY=KEY)
    assert done.status == 0
    assert KEY not in done.out + done.err
    assert KEY not in cli("org", "show", "A").out


def test_deidentified_images_need_a_word_on_burned_in_names(cli: Cli) -> None:
    line = cli.wrong(
        *("org", "add", "--name", "A", "--aurabox-key-stdin", "--identity", "deidentified"),
        *("--images", "dicomweb", "--dicomweb-url", "https://pacs.example"),
        given=KEY,
    )
    assert line.startswith("burned_in: ")


def test_users(cli: Cli) -> None:
    cli.right("org", "add", "--name", "A", "--aurabox-key-stdin", given=KEY)
    made = cli.right(
        *(
            "user",
            "add",
            "--email",
            "Ada@Clinic.example",
            "--org",
            "A",
            "--role",
            "admin",
            "--password-stdin",
        ),
        given="correct horse battery\n",
    )
    assert made.items() >= {"email": "Ada@clinic.example", "role": "admin"}.items()
    assert "too short" in cli.wrong(
        "user", "add", "--email", "b@c.example", "--org", "A", USER_PASSWORD="short"
    )
    invited = cli.right("user", "invite", "--email", "b@clinic.example", "--org", "A")
    assert "/invite/" in invited["url"]
    assert invited["mailed"] is False
    assert cli.right("user", "disable", "ada@clinic.example")["disabled"] is True
    assert cli.right("user", "enable", "ada@clinic.example")["disabled"] is False
    assert "/reset/" in cli.right("user", "reset-password", "ada@clinic.example")["url"]
    changed = cli.right(
        "user", "reset-password", "ada@clinic.example", "--password-stdin", given="another long password"
    )
    assert changed["email"] == "Ada@clinic.example"
    assert [one["email"] for one in cli.right("user", "list")] == ["Ada@clinic.example", "b@clinic.example"]


def test_tokens(cli: Cli) -> None:
    made = cli.right("token", "create", "--name", "monitoring", "--scope", "read")
    assert set(made) == {"id", "name", "scope", "token"}
    listed = cli("token", "list")
    assert "monitoring" in listed.out
    assert made["token"] not in listed.out
    assert cli("token", "revoke", "monitoring").status == 0
    assert cli.right("token", "list") == []


def test_links(bridge: Cli, clinic: str, sandbox: Sandbox) -> None:
    token = sandbox.add_customer()
    made = bridge.right("link", "add", "--org", clinic, "--token-stdin", given=token)
    assert made["state"] == "pending"
    assert made["customer_hint"] == token[-4:]
    listed = bridge("link", "list", "--json")
    assert token not in listed.out
    assert [one["id"] for one in listed.json] == [made["id"]]
    assert bridge.right("link", "confirm", made["id"])["state"] == "pending"
    assert bridge.right("link", "revoke", made["id"])["state"] == "disconnected"
    assert bridge.right("link", "show", made["id"])["state"] == "disconnected"
    assert "starts again from Clarius" in bridge.wrong("link", "confirm", made["id"])


def test_a_link_is_moved_and_the_exams_under_way_are_counted_first(
    bridge: Cli, clinic: str, sandbox: Sandbox
) -> None:
    token = sandbox.add_customer()
    made = bridge.right("link", "add", "--org", clinic, "--token-stdin", given=token)
    bridge.right("org", "add", "--name", "Lakeside Clinic", "--aurabox-key-stdin", given="invented")

    async def under_way(resources: Resources) -> Exam:
        return await add_exam(
            resources,
            state=ExamState.REVIEW,
            due_in=None,
            customer_hash=await resources.hash_customer(token),
            organization_id=UUID(clinic),
        )

    exam = bridge.within(under_way)
    assert bridge.right("link", "show", made["id"])["exams_under_way"] == 1
    moving = ("link", "move", made["id"], "--org", "Lakeside Clinic")
    assert "'burn'" in bridge.wrong(*moving, "--under-way", "burn")
    done = bridge(*moving, "--under-way", "cancel")
    assert done.status == 0, done.err
    first, second = done.out.splitlines()
    assert first == "1 exam under way: each is cancelled; trying one again takes that back."
    assert second.endswith("to Lakeside Clinic is pending.")
    assert bridge.right("exam", "show", str(exam.request_uuid))["state"] == "cancelled"
    assert "in force" in bridge.wrong(*moving)
