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


@app.post("/orders", callbacks=callbacks.routes, openapi_extra={"x-kind": "order"})
async def order(invoice: Invoice, source: str = "web") -> Received:
    return Received(ok=source == "web")


@app.webhooks.delete("subscription", name="gone", tags=["subscriptions"], deprecated=True)
def gone_subscription(body: Subscription, reason: str | None = None):
    """Tell about one that is gone."""


@app.webhooks.post("new-subscription")
def new_subscription(body: Subscription):
    """Tell about a new subscription."""


REQUESTS = [
    ("POST", "/invoices/", {"json": {"id": "a", "total": 1}}),
    ("POST", "/invoices/?callback_url=no-url", {"json": {"id": "a", "total": 1}}),
    ("POST", "/invoices/?callback_url=https://a.example/b", {"json": {"id": "a", "total": 1}}),
    ("POST", "/orders?source=shop", {"json": {"id": "a", "total": 1}}),
    ("POST", "/new-subscription", {"json": {}}),
]
