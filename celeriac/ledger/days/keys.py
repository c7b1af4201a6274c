"""Unique keys over partitions: a table of the keys that are held, written by triggers as an index would be.

PostgreSQL has no unique index over partitions that leaves out their bounds. As with the index of the plain
table, no statement of ours takes or clears a key: it follows from the row. A row without one is not touched.
"""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from celeriac.ledger.partitions.layout import PARENT, run
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.unique_rows import holds_key

#: The table's name, that of its constraint, and the functions.
HELD_KEYS = "background_held_keys"
_FUNCTIONS = ("celeriac_take_key", "celeriac_new_key", "celeriac_moved_key", "celeriac_no_keys")

# Each statement in a function of READ COMMITTED sees what was committed before it. So the row of whoever has
# the key is seen, once the INSERT has waited for its transaction. A key whose job does not hold it was left
# by a row that its own id kept out: it is free.
_TAKE = """
CREATE FUNCTION celeriac_take_key(wanted text, new_job uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    holder uuid;
BEGIN
    LOOP
        INSERT INTO {schema}.{table} (key, job) VALUES (wanted, new_job) ON CONFLICT (key) DO NOTHING;
        IF FOUND THEN
            RETURN true;
        END IF;
        SELECT job INTO holder FROM {schema}.{table} WHERE key = wanted;
        IF FOUND THEN
            PERFORM FROM {schema}.{parent} AS j WHERE j.id = holder AND j.unique_key = wanted AND {held_by_j};
            IF FOUND AND holder <> new_job THEN
                RETURN false;  -- nothing is locked: its end must not wait for this transaction
            END IF;
            PERFORM FROM {schema}.{table} WHERE key = wanted AND job = holder FOR UPDATE;
            IF FOUND THEN
                PERFORM FROM {schema}.{parent} AS j
                    WHERE j.id = holder AND j.unique_key = wanted AND {held_by_j};
                IF FOUND AND holder <> new_job THEN
                    RETURN false;
                END IF;
                UPDATE {schema}.{table} SET job = new_job WHERE key = wanted;
                RETURN true;
            END IF;
        END IF;
    END LOOP;
END $$
"""

#: Before a row is written. As ON CONFLICT DO NOTHING has it, one whose key is taken is left out.
_NEW = """
CREATE FUNCTION celeriac_new_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM {schema}.{parent} WHERE id = NEW.id;
    IF FOUND THEN
        RETURN NEW;  -- the key of the table decides
    END IF;
    IF {schema}.celeriac_take_key(NEW.unique_key, NEW.id) THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$
"""

_MOVED = """
CREATE FUNCTION celeriac_moved_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := CASE WHEN {held_by_old} THEN OLD.unique_key END;
    after text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        after := CASE WHEN {held_by_new} THEN NEW.unique_key END;
    END IF;
    IF before IS NOT DISTINCT FROM after THEN
        RETURN NULL;
    END IF;
    IF before IS NOT NULL THEN
        DELETE FROM {schema}.{table} WHERE key = before AND job = OLD.id;
    END IF;
    IF after IS NOT NULL AND NOT {schema}.celeriac_take_key(after, NEW.id) THEN
        RAISE unique_violation USING MESSAGE = 'another job has the unique key', TABLE = '{table}',
            CONSTRAINT = 'background_jobs_unique';
    END IF;
    RETURN NULL;
END $$
"""

_EMPTIED = """
CREATE FUNCTION celeriac_no_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE {schema}.{table};
    RETURN NULL;
END $$
"""


def make(connection: Connection) -> None:
    """Make the table, the functions and the triggers, in place of what a ledger left that was taken down."""
    drop(connection)
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    words = {
        "schema": schema,
        "table": HELD_KEYS,
        "parent": PARENT,
        **{f"held_by_{row}": _holds(row) for row in ("old", "new", "j")},
    }
    connection.exec_driver_sql(f"CREATE TABLE {HELD_KEYS} (key varchar(255) PRIMARY KEY, job uuid NOT NULL)")
    for function in (_TAKE, _NEW, _MOVED, _EMPTIED):
        connection.exec_driver_sql(function.format(**words))
    either = "OLD.unique_key IS NOT NULL OR NEW.unique_key IS NOT NULL"
    for name, when, each, condition, function in (
        ("new_key", "BEFORE INSERT", "ROW", _holds("new"), "new_key"),
        (
            "moved_key",
            "AFTER UPDATE OF unique_key, unique_while, finished, last_worker_id",
            "ROW",
            either,
            "moved_key",
        ),
        ("key_of_the_deleted", "AFTER DELETE", "ROW", "OLD.unique_key IS NOT NULL", "moved_key"),
        ("no_keys", "AFTER TRUNCATE", "STATEMENT", None, "no_keys"),
    ):
        rows = "" if condition is None else f" WHEN ({condition})"
        connection.exec_driver_sql(
            f"CREATE TRIGGER celeriac_{name} {when} ON {PARENT} FOR EACH {each}{rows}"
            f" EXECUTE FUNCTION {schema}.celeriac_{function}()"
        )


def fill(connection: Connection) -> None:
    """Note the keys that are held already; only for rows that were written without the triggers."""
    held = "INSERT INTO {table} SELECT unique_key, id FROM {parent} AS j WHERE {holds}"
    run(connection, held, table=HELD_KEYS, parent=PARENT, holds=_holds("j"))


def drop(connection: Connection) -> None:
    """Take the functions and the table away; the triggers go with the jobs' table."""
    for name in _FUNCTIONS:
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {name} CASCADE")
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {HELD_KEYS}")


def _holds(row: str) -> str:
    """Whether the row of this name holds its key, as the index of the plain table has it."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's
    return str(holds_key(JOBS.alias(row).c).compile(dialect=dialect))
