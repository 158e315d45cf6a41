"""The tables, one schema for every database; ``seq`` orders what the loop reads."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A number of the log; SQLite's own integers are as wide, and only they may name its rows.
Number = BigInteger().with_variant(Integer, "sqlite")

# The next free number; taken inside the transaction that writes the rows.
sequence = Table(
    "sequence",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("next", Number, nullable=False),
)

# What a version answered stands beside the features that it answered for: one row, one commit.
# ``trace`` is the W3C trace-id of the request that brought the row, where it had one.
observations = Table(
    "observations",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("observation_id", Text, nullable=False),
    Column("numeric", LargeBinary, nullable=False),
    Column("categorical", Text),
    Column("version", Integer),
    Column("revision", Number),
    Column("answer", LargeBinary),
    Column("recorded_at", Float, nullable=False),
    Column("trace", Text),
    UniqueConstraint("model", "observation_id"),
)

# ``first``: no label of the observation came before; ``early``: it came before its observation.
labels = Table(
    "labels",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("observation_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("first", Boolean(create_constraint=False), nullable=False),
    Column("early", Boolean(create_constraint=False), nullable=False),
    Column("recorded_at", Float, nullable=False),
    Column("trace", Text),
    UniqueConstraint("model", "observation_id", "revision"),
    Index(None, "model", "first", "early", "seq"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("recorded_at", Float, nullable=False),
    Index(None, "model", "seq"),
)

# What serving processes answered and refused since their row before; ``fields`` is a JSON object,
# refused rows by the field at fault.
intake = Table(
    "intake",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("answered", Number, nullable=False),
    Column("refused", Number, nullable=False),
    Column("fields", Text, nullable=False),
    Column("recorded_at", Float, nullable=False),
    Index(None, "model", "seq"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("n", Number, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("seq", Number, nullable=False),
    Column("version", Integer),
    Column("because", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "model", "n"),
)

# Append-only: a hash over the rows of the log from one number to another.
seals = Table(
    "seals",
    metadata,
    Column("last", Number, primary_key=True, autoincrement=False),
    Column("first", Number, nullable=False),
    Column("hash", Text, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("sha256", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
)

pointers = Table(
    "pointers",
    metadata,
    Column("model", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("decided_by", Number, nullable=False),
    Column("revision", Number),
    Column("weights", Text),
)

# Append-only: the weights of a blend while it was the champion, by the outcome that set them.
revisions = Table(
    "revisions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("revision", Number, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("weights", Text, nullable=False),
)

# A cache: losing it costs a fold over the outcomes, never a decision.
snapshots = Table(
    "snapshots",
    metadata,
    Column("model", Text, primary_key=True),
    Column("seq", Number, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("taken_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

failed_turns = Table(
    "failed_turns",
    metadata,
    Column("model", Text, primary_key=True),
    Column("because", Text, nullable=False),
    Column("recorded_at", Float, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Number, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("last_error", Text),
    Column("recorded_at", Float, nullable=False),
    Index(None, "destination", "state", "id"),
)

# Where people are told: up to which entry of the ledger, by which message, and what is wrong.
channels = Table(
    "channels",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("told", Number, nullable=False),
    Column("digested_at", Float, nullable=False),
    Column("living", Text),
    Column("parked", Text),
    Column("watched", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("revoked_at", Text),
    UniqueConstraint("hash"),
)
