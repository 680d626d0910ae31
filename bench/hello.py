"""The least that a FastAPI application does with a body: checks it and answers. What the webhook is measured against."""

from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Greeting(BaseModel):
    """A body of the same fields as a notification's."""

    request_uuid: UUID
    exam_uuid: UUID
    customer_id: str
    download_url: str


@app.post("/hello")
async def hello(greeting: Greeting) -> dict[str, str]:
    """An answer of the same length as the webhook's, with nothing behind it."""
    return {"status": "accepted", "request_uuid": str(greeting.request_uuid)}
