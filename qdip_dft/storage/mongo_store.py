"""A collection on a MongoDB server as a maggma store: errors in words, passwords kept out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bson.errors import BSONError
from maggma.core import Sort
from maggma.stores import MongoStore
from pymongo import MongoClient, ReplaceOne
from pymongo.errors import (
    ConfigurationError,
    DocumentTooLarge,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_document
from qdip_dft.storage.mongo_address import MongoAddress, read_address, refuse_address

ANSWER_TIMEOUT_S = 10.0
"""How long a server may take to answer at all, in s."""

_AUTHENTICATION_FAILED, _NOT_ALLOWED, _TOO_LARGE = 18, 13, 10334


class MongoResultsStore(MongoStore):
    """Documents of one collection of a MongoDB database.

    Parameters
    ----------
    uri
        Address of the database; see `mongo_address`.  What is shown or stored of it has no user and password.
    collection_name
        The collection.
    key
        The field that identifies a document when `update` is not told otherwise.
    """

    def __init__(self, uri: str, collection_name: str, key: str = "task_id") -> None:
        self._address: MongoAddress = read_address(uri)
        super().__init__(self._address.database, collection_name, uri=self._address.uri, key=key)

    @property
    def name(self) -> str:
        """Server, database and collection, without user and password."""
        return f"{self._address.shown}/{self.collection_name}"

    def connect(self, force_reset: bool = False) -> None:  # noqa: FBT001, FBT002 (maggma's signature)
        """Connect and make sure that the server answers.

        Raises
        ------
        ResultsError
            If it does not, or refuses the user.
        """
        if self._coll is not None and not force_reset:
            return
        with _explain_errors(self._address):
            client = _connect(self._address)
            self._coll = client[self._address.database][self.collection_name]  # type: ignore[assignment]
            try:
                client[self._address.database].command("ping")
            except BaseException:
                self.close()
                raise

    @property
    def _collection(self) -> Any:
        """The collection, connected when needed."""
        self.connect()
        return self._coll

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        collection, self._coll = self._coll, None
        if collection is not None:
            collection.database.client.close()

    def __del__(self) -> None:
        """Close the connection of a store that is no longer used."""
        if hasattr(self, "_coll"):
            self.close()

    def count(self, criteria: Document | None = None, hint: dict[str, Sort | int] | None = None) -> int:
        """Return the number of documents that pass a filter."""
        with _explain_errors(self._address):
            return int(self._collection.count_documents(criteria or {}, **({"hint": hint} if hint else {})))

    def query(  # type: ignore[override]  # noqa: PLR0917 (maggma's signature, without the options of pymongo)
        self,
        criteria: Document | None = None,
        properties: Document | list[str] | None = None,
        sort: dict[str, Sort | int] | None = None,
        hint: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[Document]:
        """Yield the documents that pass a filter."""
        with _explain_errors(self._address):
            yield from super().query(criteria, properties, sort, hint, skip, limit)

    def update(self, docs: list[Document] | Document, key: list[str] | str | None = None) -> None:
        """Store documents; each replaces the one that has the same key fields.

        Raises
        ------
        ResultsError
            If a document cannot be stored, or the server refuses.
        """
        names = [key or self.key] if isinstance(key, str | None) else list(key)
        documents = docs if isinstance(docs, list) else [docs]
        with _explain_errors(self._address):
            requests = [_make_request(document, names) for document in documents]
            if requests:
                self._collection.bulk_write(requests, ordered=False)

    def remove_docs(self, criteria: Document) -> None:
        """Remove the documents that pass a filter."""
        with _explain_errors(self._address):
            self._collection.delete_many(criteria)

    def ensure_index(self, key: str, unique: bool | None = False) -> bool:  # noqa: FBT001, FBT002 (maggma's signature)
        """Create an index on a field; return whether there is one."""
        return self.ensure_indexes([(key,)], is_unique=bool(unique))

    def ensure_indexes(self, indexes: list[tuple[str, ...]], *, is_unique: bool = False) -> bool:
        """Create indexes, each on one or several fields together; a user who may only read goes on without."""
        with _explain_errors(self._address):
            try:
                for fields in indexes:
                    self._collection.create_index([(field, 1) for field in fields], unique=is_unique)
            except OperationFailure as error:
                if error.code != _NOT_ALLOWED:
                    raise
                return False
        return True


def _connect(address: MongoAddress) -> MongoClient[Document]:
    """Return a client; an option of the address that the driver would only warn about is refused."""
    credentials: dict[str, Any] = {"username": address.user, "password": address.password} if address.user else {}
    timeout_ms = int(ANSWER_TIMEOUT_S * 1e3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return MongoClient(
                address.uri,
                appname="qdip_dft",
                serverSelectionTimeoutMS=timeout_ms,
                connectTimeoutMS=timeout_ms,
                **credentials,
            )
    except (ValueError, UserWarning, ConfigurationError, InvalidURI):
        raise refuse_address() from None  # the driver's words may repeat what was given


def _make_request(document: Document, names: list[str]) -> ReplaceOne[Document]:
    plain = decode_value(encode_document({name: value for name, value in document.items() if name != "_id"}))
    return ReplaceOne({name: _find(plain, name) for name in names}, plain, upsert=True)


def _find(document: Document, name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ResultsError(
                f"a document has no field {name!r}",
                limit="it is one of the key fields",
                why="without it the document could not be found again and would be stored twice",
                remedy="add the field to the document, or name other key fields",
            )
        value = value[part]
    return value


@contextmanager
def _explain_errors(address: MongoAddress) -> Iterator[None]:
    """Turn errors of the driver into ours; the original is left out because it may quote the password."""
    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise _explain(error, address) from None


def _explain(error: Exception, address: MongoAddress) -> ResultsError:
    if isinstance(error, OperationFailure) and error.code in {_AUTHENTICATION_FAILED, _NOT_ALLOWED}:
        return ResultsError(
            f"{address.shown} refuses the user",
            limit="the server asks for a user and password that may do this",
            why="the results cannot be reached",
            remedy="set QDIP_MONGODB_USER and QDIP_MONGODB_PASSWORD, and authSource in the address where it is another "
            "database (mongodb://HOST/DATABASE?authSource=admin)",
        )
    if isinstance(error, ServerSelectionTimeoutError):
        return ResultsError(
            f"{address.shown} does not answer",
            limit=f"a server is waited for {ANSWER_TIMEOUT_S:.0f} s",
            why="the results cannot be reached",
            remedy="check host and port, and whether the server runs and lets this machine in",
        )
    if isinstance(error, DocumentTooLarge) or getattr(error, "code", None) == _TOO_LARGE:
        return ResultsError(
            f"a document is too large for {address.shown}",
            limit="MongoDB takes documents up to 16 MB",
            why="half a document could not be read back",
            remedy="keep these results in a results folder, which has no such limit",
        )
    return ResultsError(
        f"{address.shown}: {_redact(str(error), address)}",
        limit="the server must carry out what it is asked",
        why="the results are not read or stored completely",
        remedy="cure the reason that the server gives, and run the same command again",
    )


def _redact(text: str, address: MongoAddress) -> str:
    for secret in filter(None, (address.password, address.user)):
        text = text.replace(secret, "***")
    return text if len(text) <= 300 else f"{text[:300]}…"
