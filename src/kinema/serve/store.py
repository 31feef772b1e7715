"""Where keys and usage are kept: SQLite beside the server by default, PostgreSQL by URL.

A database has a schema version. An empty one is laid out; one of another version is refused, because
guessing about bills is worse than stopping. An SQLite file is readable by its owner only and written in
WAL mode, so that readers never wait for the writer; a writer waits at most `busy_s` for another one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Connection, Engine, Float, Integer, String, Table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from kinema.schema import KinemaError

SCHEMA_VERSION = 1
DATABASE_FILE = "serve.sqlite"

metadata = sa.MetaData()

schema_table = Table("kinema_schema", metadata, Column("version", Integer, primary_key=True))

keys_table = Table(
    "kinema_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("secret_hash", String(200), nullable=False),
    Column("rate_hz", Float),
    Column("quota_per_day", BigInteger),
    Column("admin", Boolean, nullable=False),
    Column("made_s", Float, nullable=False),
    Column("revoked_s", Float),
)
# A name means one key in use; revoked keys keep theirs.
sa.Index(
    "kinema_keys_name_in_use",
    keys_table.c.name,
    unique=True,
    sqlite_where=keys_table.c.revoked_s.is_(None),
    postgresql_where=keys_table.c.revoked_s.is_(None),
)

# One row for each metered answer. (segment, sequence) is its place in an outbox: what makes it unique.
events_table = Table(
    "kinema_usage_events",
    metadata,
    Column("segment", String(32), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time_s", Float, nullable=False),
    Column("day", String(10), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("model", String(100), nullable=False),
    Column("body", String(100), nullable=False),
    Column("actions", BigInteger, nullable=False),
    Column("milliseconds", Float, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("currency", String(8), nullable=False),
    sa.Index("kinema_usage_events_day", "day", "key_id"),
)

# The sums that reports read, kept in the same transaction as the events.
days_table = Table(
    "kinema_usage_days",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("key_id", String(32), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("body", String(100), primary_key=True),
    Column("currency", String(8), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("actions", BigInteger, nullable=False),
    Column("milliseconds", Float, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
)


class StoreError(KinemaError):
    """The database cannot be used now, or is not ours. A server answers 503."""


class Store:
    """One database. `reading` and `writing` give a connection inside one transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = engine.url.render_as_string(hide_password=True)

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent view. Raises StoreError."""
        return self._transaction(writes=False)

    def writing(self) -> AbstractContextManager[Connection]:
        """All of what is written inside, or nothing. Raises StoreError."""
        return self._transaction(writes=True)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        try:
            with (
                self.engine.connect().execution_options(kinema_writes=writes) as connection,
                connection.begin(),
            ):
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"database {self.name}: {_in_words(error)}") from error


def open_store(url: str | None = None, *, busy_s: float = 5.0) -> Store:
    """The database at an SQLAlchemy URL (default: SQLite in `state_folder()`), laid out where it was empty.

    Raises StoreError when it cannot be reached, is of another schema version or of an unknown kind.
    """
    try:
        parsed = make_url(url or default_url())
    except (ArgumentError, ValueError):
        raise StoreError(
            f"database {without_password(url or '')!r} is no URL; write sqlite:///path/to/file or postgresql://user@host/database"
        ) from None
    engine = _sqlite(parsed, busy_s) if parsed.get_backend_name() == "sqlite" else _postgres(parsed, busy_s)
    store = Store(engine)
    _lay_out(store)
    return store


def without_password(url: str) -> str:
    """The URL as it may be shown, also where it is none: nothing before its last @."""
    return re.sub(r"^([A-Za-z0-9+]+:/*|).*@", r"\1***@", url, flags=re.DOTALL)


def state_folder() -> Path:
    """Where a server keeps its database and outbox: $KINEMA_HOME, else the user's data folder."""
    named = os.environ.get("KINEMA_HOME")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "kinema"


def default_url() -> str:
    """$KINEMA_DATABASE, else the SQLite file in the state folder."""
    return os.environ.get("KINEMA_DATABASE") or f"sqlite:///{state_folder() / DATABASE_FILE}"


def private_folder(path: Path) -> Path:
    """`path`, made if it was missing, and then closed to other users."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _sqlite(url: URL, busy_s: float) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreError("an SQLite database needs a file: sqlite:///path/to/file")
    path = Path(url.database)
    try:
        private_folder(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        where = "set KINEMA_HOME, or name another with --database"
        raise StoreError(f"database {path}: {error.strerror}; {where}") from None
    engine = sa.create_engine(url, connect_args={"timeout": busy_s})

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves; the driver's own way breaks transactions
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turns writer half-way fails at once instead of waiting: writers say so first.
        writes = connection.get_execution_options().get("kinema_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres(url: URL, busy_s: float) -> Engine:
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise StoreError(f"database of kind {url.get_backend_name()!r}; choices: sqlite, postgresql")
    timeout_ms = round(1e3 * busy_s)
    arguments = {
        "connect_timeout": max(2, round(busy_s)),
        "options": f"-c lock_timeout={timeout_ms} -c statement_timeout={4 * timeout_ms}",
    }
    try:
        return sa.create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args=arguments, pool_pre_ping=True
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StoreError(f"PostgreSQL needs its driver: pip install 'psycopg[binary]' ({error})") from None


def _lay_out(store: Store) -> None:
    if _version(store) is None:
        try:
            with store.writing() as connection:
                metadata.create_all(connection)
                connection.execute(sa.insert(schema_table).values(version=SCHEMA_VERSION))
        except StoreError:
            if _version(store) is None:  # otherwise another process was first
                raise
    found = _version(store)
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"database {store.name} has schema version {found}, this kinema reads {SCHEMA_VERSION}; "
            "use the kinema that made it, or another database"
        )


def _version(store: Store) -> int | None:
    with store.reading() as connection:
        if not sa.inspect(connection).has_table(schema_table.name):
            return None
        return connection.execute(sa.select(schema_table.c.version)).scalar()


def _in_words(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__
