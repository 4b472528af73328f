"""The ledger on PostgreSQL, against a real one: who waits for whom, connections that break off, errors, passwords."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote

import psycopg
import pytest

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import BlackboxProxyError, InputError, LedgerError, OverBudget
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.ledger.database import LedgerDatabase, Scope, Transaction
from blackbox_proxy.ledger.opening import existing_store, open_store
from blackbox_proxy.ledger.place import LedgerPlace
from blackbox_proxy.ledger.postgres import _BEGIN, MIGRATIONS, PostgresDatabase, _locks
from blackbox_proxy.ledger.store import Store
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import Traffic, running
from blackbox_proxy.types import Prompt
from tests.ledger.cutting import cutting
from tests.ledger.intents import NOON, intent
from tests.ledger.pooling import pooled
from tests.ledger.postgres_server import PASSWORD, PostgresServer
from tests.ledger.test_sqlite import hash_of
from tests.ledger.test_store import OK, USED, counted
from tests.ledger.toys import STEERING, Books, connected, pair, toy
from tests.scale.arithmetic import LOCKED_ROUND_TRIPS, ROUND_TRIPS

Done = TypeVar("Done")
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.fresh()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url)) as opened:
        yield opened


def impatient(url: str, seconds: float = 0.3) -> Store:
    """A ledger that waits for its server no longer than that."""
    return Store(PostgresDatabase(LedgerPlace(url), patience=seconds))


def test_released_schemas_do_not_change() -> None:
    assert [hash_of(one) for one in MIGRATIONS] == ["e25716abd35d155e"]


@dataclass
class Pausing:
    """A database whose transactions wait before they are committed, until they may end."""

    database: PostgresDatabase
    inside: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def transact(self, work: Callable[[Transaction], Done], /, scopes: Sequence[Scope] = ()) -> Done:
        def paused(transaction: Transaction) -> Done:
            done = work(transaction)
            self.inside.set()
            assert self.may_end.wait(60)
            return done

        return self.database.transact(paused, scopes)


def beside(
    postgres: PostgresServer, url: str, first: Callable[[Store], int], second: Callable[[Store], int]
) -> tuple[bool, object]:
    """Whether an attempt waited for one that had not been committed, and what it raised, or its row."""
    pausing = Pausing(PostgresDatabase(LedgerPlace(url)))
    with closing(open_store(url)) as other, ThreadPoolExecutor(2) as pool:
        before = pool.submit(first, Store(cast(LedgerDatabase, pausing)))
        assert pausing.inside.wait(60)
        after = pool.submit(second, other)
        while not (waited := postgres.say(WAITING) != [(0,)]) and not after.done():
            pass
        pausing.may_end.set()
        before.result()
        result = after.exception() or after.result()
    pausing.database.close()
    return waited, result


DAY, TAG = Budget(max_calls=1, per="day"), Budget(max_calls=1, per="project=x")
RUN = Budget(max_calls=1)


@pytest.mark.parametrize(
    ("first", "second"), [([DAY], [DAY]), ([RUN], [RUN]), ([TAG], [TAG]), ([DAY], [TAG]), ([], [DAY]), ([TAG], [RUN])]
)
@pytest.mark.parametrize("default", ["read committed", "repeatable read", "serializable"])
def test_who_checks_a_budget_waits_for_whoever_adds_to_it(
    postgres: PostgresServer, url: str, first: list[Budget], second: list[Budget], default: str
) -> None:
    """Also where neither has the other's budget, and whatever isolation the server gives by default."""
    name = url.partition("?")[0].rpartition("/")[2]
    postgres.say(f"ALTER DATABASE {name} SET default_transaction_isolation = '{default}'")
    one = intent(project="x")
    waited, result = beside(
        postgres, url, lambda store: store.begin(one, first), lambda store: store.begin(one, second)
    )
    assert waited
    assert isinstance(result, OverBudget)
    assert rows(url) == ["open"]


@pytest.mark.parametrize(
    ("first", "second", "another"),
    [
        ([], [], {}),
        ([TAG], [DAY], {"at": NOON + dt.timedelta(days=1), "run": "s", "project": "y"}),
        ([RUN], [], {"run": "s"}),
    ],
)
def test_attempts_that_share_no_checked_budget_do_not_wait(
    postgres: PostgresServer, url: str, first: list[Budget], second: list[Budget], another: dict[str, Any]
) -> None:
    waited, result = beside(
        postgres,
        url,
        lambda store: store.begin(intent(project="x"), first),
        lambda store: store.begin(intent(**{"project": "x", **another}), second),
    )
    assert (waited, isinstance(result, int)) == (False, True)


def rows(url: str) -> list[str]:
    with closing(open_store(url)) as store:
        return [row.outcome for row in store.rows()]


def through(url: str, folder: str) -> str:
    return f"{url.partition('?')[0]}?host={folder}"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_row_is_booked_once_where_the_connection_breaks_off_at_its_commit(
    postgres: PostgresServer, url: str, when: Literal["before", "after"]
) -> None:
    """Whether the server heard it or not; and what its budget allows is used by one attempt."""
    budget = Budget(max_calls=1, per="day")
    open_store(url).close()
    with cutting(postgres.folder, b"COMMIT\0", when) as (folder, cut):
        with closing(open_store(through(url, folder))) as store:
            row = store.begin(intent(project="x"), [budget])
            store.end(row, OK, counted())
            with pytest.raises(OverBudget):
                store.begin(intent(), [budget])
            booked = list(store.rows())
    assert cut
    assert [(one.id, one.outcome, dict(one.tags)) for one in booked] == [(row, "ok", {"project": "x"})]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("word", [b"outcome = ", b"local_seconds = ", b"INSERT INTO", b"pg_advisory", b"coalesce(sum"])
def test_whatever_breaks_off_is_said_again_to_the_same_end(
    postgres: PostgresServer, url: str, word: bytes, when: Literal["before", "after"]
) -> None:
    open_store(url).close()
    with cutting(postgres.folder, word, when) as (folder, cut):
        with closing(open_store(through(url, folder))) as store:
            row = store.begin(intent(), [Budget(max_calls=1)])
            store.end(row, OK, counted())
            store.evaluated(row, 0.25)
            (booked,) = store.rows()
    assert cut
    assert (booked.id, booked.outcome, booked.input, booked.local_seconds) == (row, "ok", USED.input, 0.25)


def test_a_run_goes_on_where_the_server_is_killed_and_started_again(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    traffic = Traffic()
    with (
        running(toy(), name="toy", top_k=6, traffic=traffic) as api_url,
        Books(tmp_path, url).opened(Budget(max_calls=100, per="day")) as ledger,
        connected(api_url, ledger) as api,
        ThreadPoolExecutor(1) as pool,
    ):
        stream = Steerer(api, pair(), STEERING).stream(Prompt(text="abc"))
        next(stream)
        postgres.stop("immediate")
        starting = pool.submit(postgres.start)
        rest = list(stream)
        starting.result()
        booked = list(ledger.store.rows())
    assert len(rest) == STEERING.max_tokens - 1
    assert stream.result.finish == "length"
    assert [row.outcome for row in booked] == ["ok"] * traffic.total
    assert sum(row.output or 0 for row in booked) == traffic.written
    assert all(row.cost is not None for row in booked)


def test_where_the_server_stays_away_nothing_is_sent_and_later_it_goes_on(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    traffic = Traffic()
    store = impatient(url)
    with Books(tmp_path, url).opened() as ledger:
        prices = ledger.prices
    with running(toy(), name="toy", top_k=6, traffic=traffic) as api_url, Ledger(store, prices) as ledger:
        with connected(api_url, ledger) as api:
            postgres.stop()
            try:
                with pytest.raises(LedgerError, match="cannot be used: connection is bad") as raised:
                    Steerer(api, pair(), STEERING).complete(Prompt(text="abc"))
            finally:
                postgres.start()
            assert "check that the server runs" in raised.value.hint
            assert traffic.total == 0
            assert Steerer(api, pair(), STEERING).complete(Prompt(text="abc")).finish == "length"


def test_a_closed_ledger_stays_closed(url: str) -> None:
    store = open_store(url)
    store.close()
    with pytest.raises(LedgerError, match="is closed"):
        store.begin(intent())


NEXT = "ALTER TABLE blackbox_proxy.attempts ADD COLUMN colour TEXT; UPDATE blackbox_proxy.attempts SET colour = 'grey'"


def test_an_older_ledger_is_brought_up_to_date_and_a_newer_one_is_refused(postgres: PostgresServer, url: str) -> None:
    with closing(open_store(url)) as store:
        store.begin(intent(project="x"))
    PostgresDatabase(LedgerPlace(url), migrations=(*MIGRATIONS, NEXT)).close()
    assert postgres.say("SELECT colour FROM blackbox_proxy.attempts", url=url) == [("grey",)]
    with pytest.raises(LedgerError, match=r"newer version .*\(schema 2, and 1 is the newest known here\)") as raised:
        open_store(url)
    assert "upgrade blackbox-proxy" in raised.value.hint


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(url: str, store: Store) -> None:
    store.begin(intent())
    with pytest.raises(LedgerError, match='table "gone" does not exist'):
        PostgresDatabase(LedgerPlace(url), migrations=(*MIGRATIONS, f"{NEXT}; DROP TABLE gone"))
    assert rows(url) == ["open"]


def test_where_there_is_no_ledger_none_is_made(postgres: PostgresServer, url: str) -> None:
    assert existing_store(LedgerPlace(url)) is None
    assert postgres.say("SELECT count(*) FROM pg_namespace WHERE nspname = 'blackbox_proxy'", url=url) == [(0,)]


RAISES = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '{code}'; END $$;
    CREATE TRIGGER refused BEFORE INSERT ON blackbox_proxy.attempts EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize(
    ("code", "hint"), [("53100", "make room on the server's disk"), ("25006", "the server only reads")]
)
def test_a_server_that_cannot_write_is_an_error_with_a_hint(
    postgres: PostgresServer, url: str, store: Store, code: str, hint: str
) -> None:
    """As the server itself reports it: a disk is not filled here."""
    postgres.say(RAISES.format(code=code), url=url)
    with pytest.raises(LedgerError, match="No space left on device") as raised:
        store.begin(intent())
    assert hint in raised.value.hint
    postgres.say("DROP TRIGGER refused ON blackbox_proxy.attempts", url=url)
    store.begin(intent())
    assert rows(url) == ["open"], "the connection is usable again, and nothing of the first is there"


def test_a_budget_that_is_held_for_long_is_an_error(url: str) -> None:
    """As by a process that was stopped in its transaction; this server waits 100 ms where 30 s are usual."""
    store = open_store(url)
    with closing(store), pytest.MonkeyPatch.context() as patch:
        patch.setattr("blackbox_proxy.ledger.postgres._BEGIN", (*_BEGIN, "SET LOCAL lock_timeout = '100ms'"))
        (lock,) = _locks([Scope("day 2026-11-25", alone=True)])
        with psycopg.connect(url) as holding:
            holding.execute(lock.encode())
            with pytest.raises(LedgerError, match="lock timeout") as raised:
                store.begin(intent(), [DAY])
        assert "pg_stat_activity" in raised.value.hint
        store.begin(intent(), [DAY])


def with_password(url: str, password: str) -> str:
    return url.replace("guarded@", f"guarded:{quote(password, safe='')}@")


def test_a_password_comes_from_the_url_from_libpqs_places_or_from_a_file(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    file, passfile = tmp_path / "password", tmp_path / "pgpass"
    file.write_text(f"{PASSWORD}\n")
    passfile.write_text(f"*:*:*:guarded:{PASSWORD}\n")
    passfile.chmod(0o600)
    open_store(with_password(guarded, PASSWORD)).close()
    open_store(LedgerPlace(guarded, file)).close()
    open_ledger(guarded, password_file=file).close()
    open_store(f"{guarded}&passfile={passfile}").close()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    open_store(guarded).close()


WRONG = "not-the-pass-word"


@pytest.mark.parametrize("way", ["none", "url", "file", "variable"])
def test_a_wrong_password_is_an_error_that_does_not_show_it(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    place = LedgerPlace(guarded)
    if way == "url":
        place = LedgerPlace(with_password(guarded, WRONG))
    elif way == "file":
        (tmp_path / "password").write_text(WRONG)
        place = LedgerPlace(guarded, tmp_path / "password")
    elif way == "variable":
        monkeypatch.setenv("PGPASSWORD", WRONG)
    with pytest.raises(LedgerError, match=r"cannot be used: .*password") as raised:
        open_store(place)
    assert "~/.pgpass" in raised.value.hint
    assert WRONG not in "".join(traceback.format_exception(raised.value)) + raised.value.hint + repr(place)


def test_a_role_without_rights_is_told_which_it_needs(postgres: PostgresServer, url: str) -> None:
    postgres.say("CREATE ROLE reader LOGIN")
    as_reader = url.replace("postgres@", "reader@")
    with pytest.raises(LedgerError, match="permission denied for database") as raised:
        open_store(as_reader)
    assert "GRANT CREATE ON DATABASE" in raised.value.hint
    with closing(open_store(url)) as store:
        store.begin(intent())
    with pytest.raises(LedgerError, match="permission denied for schema blackbox_proxy"):
        open_store(as_reader)
    postgres.say(
        "GRANT USAGE ON SCHEMA blackbox_proxy TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA blackbox_proxy TO reader",
        url=url,
    )
    with closing(open_store(as_reader)) as reading:
        assert [row.outcome for row in reading.rows()] == ["open"]
        with pytest.raises(LedgerError, match="permission denied for table attempts"):
            reading.begin(intent())


@pytest.mark.parametrize(
    ("address", "kind", "says", "hint"),
    [
        ("postgresql://ann:s3cret@127.0.0.1:1/books", LedgerError, "Connection refused", "check that the server runs"),
        ("postgresql://ann:s3cret@127.0.0.1:port/books", InputError, "is no URL of PostgreSQL", "%40"),
        ("postgresql://ann:s3cret/books", InputError, "is no URL of PostgreSQL", "%40"),
        ("postgresql://ann:s3cret@h/books?colour=s3cret", InputError, "is no URL of PostgreSQL", "%40"),
        ("postgres:ann:s3cret@h/books", InputError, "is no ledger", "postgresql://USER@HOST/DATABASE"),
        ("postgresql+psycopg://ann:s3cret@h/books", InputError, "is no ledger", "postgresql://USER@HOST/DATABASE"),
        ("mysql://ann:s3cret@h/books", InputError, "is no ledger", "postgresql://USER@HOST/DATABASE"),
        ("host=h password=s3cret dbname=books", InputError, "named by a URL", "postgresql://USER@HOST/DATABASE"),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error_without_its_password(
    address: str, kind: type[BlackboxProxyError], says: str, hint: str
) -> None:
    with pytest.raises(kind, match=says) as raised:
        open_store(address)
    assert hint in raised.value.hint
    assert "s3cret" not in "".join(traceback.format_exception_only(raised.value)) + raised.value.hint
    assert "s3cret" not in str(raised.value.__cause__)


def test_a_database_that_is_not_there_is_an_error_with_a_hint(postgres: PostgresServer) -> None:
    with pytest.raises(LedgerError, match='database "nowhere" does not exist') as raised:
        open_store(postgres.url("nowhere"))
    assert "createdb" in raised.value.hint


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "blackbox_proxy.ledger.postgres")
    with pytest.raises(LedgerError, match="needs psycopg, which cannot be loaded") as raised:
        open_store("postgresql://ann:s3cret@h/books")
    assert raised.value.hint == "pip install 'blackbox-proxy[postgres]'"
    assert "s3cret" not in str(raised.value)


def test_a_text_that_postgresql_cannot_hold_is_booked_all_the_same(store: Store) -> None:
    """A client of the gateway may send it as its name; its budget holds too."""
    budget = Budget(max_calls=1, per="user=a\0b")
    store.begin(intent(user="a\0b"), [budget])
    (row,) = store.rows()
    assert row.tags == {"user": "a\N{REPLACEMENT CHARACTER}b"}
    with pytest.raises(OverBudget):
        store.begin(intent(user="a\0b"), [budget])


def test_tables_of_others_in_the_same_database_are_left_alone(postgres: PostgresServer, url: str) -> None:
    postgres.say("CREATE TABLE attempts (id INTEGER); CREATE TABLE tags (id INTEGER)", url=url)
    with closing(open_store(url)) as store:
        store.begin(intent(project="x"))
    assert postgres.say("SELECT count(*) FROM public.attempts", url=url) == [(0,)]
    assert rows(url) == ["open"]


def test_a_pool_may_stand_between_that_lends_connections_for_a_transaction(postgres: PostgresServer, url: str) -> None:
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("there is no PgBouncer here (Debian: apt-get install pgbouncer)")
    budget = Budget(max_calls=30, per="project=x")

    def run(number: int) -> list[str]:
        with closing(open_store(pool)) as store:
            return ["booked" if booked(store, f"{number} {n}") else "refused" for n in range(10)]

    def booked(store: Store, name: str) -> bool:
        try:
            row = store.begin(intent(run=name, project="x"), [budget])
        except OverBudget:
            return False
        store.end(row, OK, counted())
        return True

    name = url.partition("?")[0].rpartition("/")[2]
    with pooled(postgres, name, program=program) as pool, ThreadPoolExecutor(6) as threads:
        said = [word for words in threads.map(run, range(6)) for word in words]
    assert (said.count("booked"), said.count("refused")) == (30, 30)
    assert rows(url) == ["ok"] * 30


class Counting:
    """What is said to a server, as psycopg says it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection, self.trips = connection, 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever a connection has)
        if name in ("execute", "cursor"):
            self.trips += 1
        return getattr(self.connection, name)


def test_a_request_takes_eight_round_trips_with_a_budget_and_a_tag(url: str) -> None:
    """What docs/design.md says: five before it is sent, and one for each thing that is known later."""
    database = PostgresDatabase(LedgerPlace(url))
    with closing(Store(database)) as store:
        store.begin(intent(project="x"), [DAY])
        assert database._connection is not None
        counting = Counting(database._connection)
        database._connection = cast("psycopg.Connection[Any]", counting)
        row = store.begin(intent(run="s", project="x"), [Budget(max_calls=9, per="day")])
        assert counting.trips == LOCKED_ROUND_TRIPS + 1 == 5, "the locks come with the begin"
        store.end(row, OK, counted())
        store.accepted(row, kept=1, wasted=2)
        store.evaluated(row, 0.5)
        assert counting.trips == ROUND_TRIPS == 8
        database._connection = counting.connection
