"""What the API calls elsewhere: callbacks of operations, webhooks."""

from datetime import datetime

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, HttpUrl

app = FastAPI()


class Invoice(BaseModel):
    id: str
    total: float


class Event(BaseModel):
    paid: bool


class Received(BaseModel):
    ok: bool


class Subscription(BaseModel):
    username: str
    start: datetime


callbacks = APIRouter()


@callbacks.post("{$callback_url}/invoices/{$request.body.id}", response_model=Received)
def notification(body: Event):
    pass


@app.post("/invoices/", callbacks=callbacks.routes)
def create(invoice: Invoice, callback_url: HttpUrl | None = None):
    return {"msg": "received"}


@app.webhooks.post("new-subscription")
def new_subscription(body: Subscription):
    """Tell about a new subscription."""


REQUESTS = [("POST", "/invoices/", {"json": {"id": "a", "total": 1}})]
