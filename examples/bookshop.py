"""A typed API with a bit of everything: `spikard --app-dir examples bookshop:app`, then /docs."""

from collections.abc import AsyncIterator
from datetime import date
from enum import Enum
from typing import Annotated
from uuid import UUID, uuid4

from msgspec import Meta, Struct, structs

from spikard import (
    BackgroundTasks,
    Depends,
    Header,
    HTTPException,
    Provide,
    Query,
    Request,
    Response,
    Router,
    Spikard,
)
from spikard.config import OpenApiConfig, ServerConfig


class Genre(Enum):
    """What kind of book it is."""

    NOVEL = "novel"
    POETRY = "poetry"
    SCIENCE = "science"


class NewBook(Struct, kw_only=True):
    """A book as clients send it."""

    title: Annotated[str, Meta(min_length=1, max_length=200, examples=["Middlemarch"])]
    genre: Genre = Genre.NOVEL
    price: Annotated[float, Meta(ge=0, description="In euros")]
    published: date | None = None
    tags: Annotated[list[Annotated[str, Meta(max_length=20)]], Meta(max_length=5)] = []


class Book(NewBook, kw_only=True):
    """A book as the shop keeps it."""

    id: UUID


class Filter(Struct):
    """What a list of books is narrowed down by."""

    genre: Genre | None = None
    max_price: Annotated[float, Meta(ge=0)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class Page(Struct):
    """Some of the books, and how many there are."""

    items: list[Book]
    total: int


class Shelf:
    """The books; a database in a real program."""

    def __init__(self) -> None:
        self.books: dict[UUID, Book] = {}


async def open_shelf() -> AsyncIterator[Shelf]:
    """Make the shelf once, and close it when the application stops."""
    shelf = Shelf()
    yield shelf
    shelf.books.clear()


def customer(x_customer: Annotated[str, Header(min_length=1)] = "somebody") -> str:
    """Return who is asking."""
    return x_customer


app = Spikard(config=ServerConfig(openapi=OpenApiConfig(enabled=True, title="Bookshop")))
app.provide(Shelf, Provide(open_shelf, singleton=True))
books = Router(prefix="/books", tags=["books"])


@books.get("/")
async def list_books(filter: Annotated[Filter, Query()], shelf: Shelf) -> Page:  # noqa: A002 - the query's name
    """List books, the cheapest first."""
    found = [
        book
        for book in shelf.books.values()
        if filter.genre in (None, book.genre)
        and (filter.max_price is None or book.price <= filter.max_price)
    ]
    found.sort(key=lambda book: book.price)
    return Page(found[: filter.limit], len(found))


@books.post("/", status_code=201)
async def add_book(
    book: NewBook,
    shelf: Shelf,
    who: Annotated[str, Depends(customer)],
    tasks: BackgroundTasks,
    response: Response,
) -> Book:
    """Add a book; `location` says where it is."""
    kept = Book(id=uuid4(), **structs.asdict(book))
    shelf.books[kept.id] = kept
    response.headers["location"] = app.url_path_for("read_book", id=kept.id)
    tasks.add_task(print, f"{who} added {kept.title!r}")
    return kept


@books.get("/{id:uuid}", responses={404: {"description": "There is no such book"}})
async def read_book(id: UUID, shelf: Shelf) -> Book:  # noqa: A002 - the name of the path parameter
    """Return one book."""
    if id not in shelf.books:
        raise HTTPException(404, "there is no such book")
    return shelf.books[id]


@books.delete(
    "/{id:uuid}", status_code=204, responses={404: {"description": "There is no such book"}}
)
async def remove_book(id: UUID, shelf: Shelf) -> None:  # noqa: A002 - the name of the path parameter
    """Take a book from the shelf."""
    if shelf.books.pop(id, None) is None:
        raise HTTPException(404, "there is no such book")


@app.on_response
def say_who_served(request: Request, response: Response) -> None:
    """Mark every answer, errors too."""
    response.headers["x-served-by"] = "bookshop"


app.include_router(books)

if __name__ == "__main__":
    app.run()
