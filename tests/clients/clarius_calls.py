"""How each Clarius call is made in the tests, by its row in docs/vendors.md."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import SecretStr

from app.clients.clarius import Annotation, ClariusClient, ClariusResearchClient, DicomOptions, login
from app.clients.http import Http

TOKEN = "eYENW6HO4xdM0KlGO2kBXtTbD5XX1LTfdV-vYslapMY"
REQUEST = "5ac5e0e3-92bd-4b55-8250-c03296a12872"
EXAM = "440648a3-435f-4053-942b-17509c0787c1"
APPLICATION = "2e79155f-811c-4d29-9b49-807b20013518"
KEY = "Q4nmtzH5.inventedServiceKey"
RESEARCH_TOKEN = "e11f11a11111d11b-invented"

Make = Callable[[ClariusClient], Awaitable[Any]]


async def all_of(items) -> list[Any]:
    return [item async for item in items]


SERVICE: dict[str, Make] = {
    "C1": lambda c: all_of(c.accessible_exams(customer_id=TOKEN)),
    "C2": lambda c: c.exam_data(f"{c._base_url}/api/public/v0/exams/download-requests/{REQUEST}/data/"),
    "C3": lambda c: c.confirm_customer(TOKEN),
    "C4": lambda c: all_of(c.confirmed_tokens()),
    "C5": lambda c: c.upload_report(
        REQUEST, name="Receipt", filename="receipt.pdf", content=b"%PDF-1.4 x", content_type="application/pdf"
    ),
    "C6": lambda c: c.settings(),
    "C7": lambda c: c.update_settings(token_transfer_url="https://example.org/{token}/"),
    "C8": lambda c: all_of(c.notification_records()),
    "C9": lambda c: c.api_keys(),
    "C10": lambda c: c.create_api_key("My new api key"),
    "C11": lambda c: c.revoke_api_key("QUgDR6JB"),
    "C12": lambda c: c.applications(),
    "C13": lambda c: c.customised_applications(),
    "C14": lambda c: c.customised_application(APPLICATION),
    "C15": lambda c: c.customise_application(
        APPLICATION, [Annotation(title="Our special annotations", labels=["LABEL1", "LABEL2"], linked=False)]
    ),
    "C16": lambda c: c.remove_customisation(APPLICATION),
}


def service(http: Http, base: str) -> ClariusClient:
    return ClariusClient(http, base_url=base, api_key=SecretStr(KEY))


def research(http: Http, base: str) -> ClariusResearchClient:
    return ClariusResearchClient(http, base_url=base, token=SecretStr(RESEARCH_TOKEN))


RESEARCH: dict[str, Callable[[Http, str], Awaitable[Any]]] = {
    "C17": lambda http, base: login(
        http, base_url=base, username="researcher", password=SecretStr("invented-password")
    ),
    "C18": lambda http, base: research(http, base).raw_data(EXAM),
    "C19": lambda http, base: research(http, base).dicom(
        EXAM,
        DicomOptions(
            syntax="jpeg ls lossless",
            b_image_only=False,
            resolution="800x600",
            demographics=("PATIENT_NAME", "EXAM_DATE"),
            tz="America/Toronto",
        ),
    ),
}


def make(http: Http, base: str, operation: str) -> Awaitable[Any]:
    if operation in RESEARCH:
        return RESEARCH[operation](http, base)
    return SERVICE[operation](service(http, base))
