"""A collection on a MongoDB server as a maggma store: errors in words, passwords kept out, documents of any size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import bson
import gridfs
from bson.errors import BSONError
from gridfs.errors import CorruptGridFile, FileExists, GridFSError, NoFile
from maggma.core import Sort
from maggma.stores import MongoStore
from pymongo import MongoClient, ReplaceOne
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError, ServerSelectionTimeoutError

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_document
from qdip_dft.storage.large_parts import FIELD, LARGEST_DOCUMENT_BYTES, restore_document, split_document
from qdip_dft.storage.mongo_address import MongoAddress, read_address, refuse_address
from qdip_dft.storage.projections import project_document, read_projection

ANSWER_TIMEOUT_S = 10.0
"""How long a server may take to answer at all, in s."""

_AUTHENTICATION_FAILED, _NOT_ALLOWED = 18, 13


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
        """Return server, database and collection, without user and password."""
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
        """Return the collection, connected when needed."""
        self.connect()
        return self._coll

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        collection, self._coll = self._coll, None
        self.__dict__.pop("_files", None)
        if collection is not None:
            collection.database.client.close()

    def __del__(self) -> None:
        """Close the connection of a store that is no longer used."""
        if hasattr(self, "_coll"):
            self.close()

    @cached_property
    def _files(self) -> gridfs.GridFSBucket:
        return gridfs.GridFSBucket(self._collection.database, "large_parts")

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
        """Yield the documents that pass a filter, with their large parts."""
        asked = dict.fromkeys(properties, 1) if isinstance(properties, list) else properties
        is_inclusive = bool(asked) and all(asked[name] for name in asked if name != "_id") if asked else False
        projection = {**asked, FIELD: 1} if asked and is_inclusive else asked
        with _explain_errors(self._address):
            for document in super().query(criteria, projection, sort, hint, skip, limit):
                yield self._restore(document, asked)

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
            requests = [self._make_request(document, names) for document in documents]
            if requests:
                self._collection.bulk_write(requests, ordered=False)

    def remove_docs(self, criteria: Document) -> None:
        """Remove the documents that pass a filter; large parts stay, as others may name them."""
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

    def _make_request(self, document: Document, names: list[str]) -> ReplaceOne[Document]:
        text = encode_document({name: value for name, value in document.items() if name != "_id"})
        plain = decode_value(text)
        if len(text) > LARGEST_DOCUMENT_BYTES // 4 and len(bson.encode(plain)) > LARGEST_DOCUMENT_BYTES:
            plain = split_document(plain, self._keep_file)
        return ReplaceOne({name: _find(plain, name) for name in names}, plain, upsert=True)

    def _restore(self, document: Document, asked: Document | None) -> Document:
        parts = document.get(FIELD)
        if not parts:
            return document
        if not asked:
            return restore_document(document, self._fetch_file)
        whole = self._collection.find_one({"_id": document["_id"]})
        restored = restore_document(whole, self._fetch_file) if whole else document
        return project_document(restored, read_projection(asked))

    def _keep_file(self, name: str, content: bytes) -> None:
        """Store a file once; what a killed writer left of it is removed first."""
        if next(iter(self._files.find({"_id": name}).limit(1)), None) is None:
            with suppress(NoFile):
                self._files.delete(name)
            with suppress(FileExists):
                self._files.upload_from_stream_with_id(name, name, content)

    def _fetch_file(self, name: str) -> bytes:
        try:
            return self._files.open_download_stream(name).read()
        except (CorruptGridFile, NoFile):
            return b""  # does not have the checksum that its name promises


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
    except (PyMongoError, GridFSError, BSONError) as error:
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
