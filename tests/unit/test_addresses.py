"""Addresses of Redis: each is obeyed by all three of its clients, or refused with a sentence."""

from __future__ import annotations

import pytest
from celery import Celery
from celery.backends.redis import RedisBackend
from redis import Redis

from celeriac.addresses import for_broker, for_results, parse, parse_list
from celeriac.broker.transport import SENTINEL_TRANSPORT, TRANSPORT, Channel, Connection, Transport
from celeriac.errors import BadAddress


@pytest.mark.parametrize(
    ("text", "broker", "results", "redbeat"),
    [
        ("redis://host", "redis://host:6379/0", "redis://host:6379/0", "redis://host:6379/0"),
        ("redis://host:7/?db=9", "redis://host:7/9", "redis://host:7/9", "redis://host:7/9"),
        (
            "redis://me:p%40@h/2",
            "redis://me:p%40@h:6379/2",
            "redis://me:p%40@h:6379/2",
            "redis://me:p%40@h:6379/2",
        ),
        (
            "redis+socket://:pw@/run/v.sock?db=3",
            "redis+socket://:pw@/run/v.sock?virtual_host=3",
            "socket://:pw@/run/v.sock?virtual_host=3",
            "unix://:pw@/run/v.sock?db=3",
        ),
        (
            "sentinel://:p%40@h/2",
            "sentinel://:p%40@h:26379/2",
            "sentinel://:p%40@h:26379/2",
            "redis-sentinel://h:26379/2",
        ),
        ("rediss://[::1]:7/1", *(["rediss://[::1]:7/1?ssl_cert_reqs=required"] * 3)),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", *(["rediss://h:6379/0?ssl_cert_reqs=none"] * 3)),
    ],
)
def test_an_address_is_written_as_each_client_reads_it(
    text: str, broker: str, results: str, redbeat: str
) -> None:
    found = parse(text)
    assert (found.for_broker, found.for_results, found.for_redbeat) == (broker, results, redbeat)
    assert for_broker(found.for_broker) == found.for_broker


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("amqp://host", "the scheme 'amqp'"),
        ("redis://host?health_check_interval=3", "found health_check_interval"),
        ("redis://host?ssl_cert_reqs=none", "TLS is asked for with rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "wanted required, optional or none"),
        ("redis://host/jobs", "wanted the number of a database"),
        ("redis://host/1?db=2", "several databases: 1, 2"),
        ("redis+socket://host/run", "the whole path"),
        ("redis://a;amqp://b", "the scheme 'amqp'"),
        ("pyamqp://host", "found the scheme 'pyamqp': RabbitMQ cannot be used"),
        ("sqs://", "found the scheme 'sqs': Amazon SQS cannot be used"),
        ("redis-cluster://host", "found the scheme 'redis-cluster': Redis Cluster cannot be used"),
        ("redis://a;rediss://b", "all redis://, all rediss:// or all sentinel://"),
        ("sentinel://a;redis://b", "all redis://, all rediss:// or all sentinel://"),
        ("redis+socket:///a;redis+socket:///b", "all redis://, all rediss:// or all sentinel://"),
        ("sentinel://a/1;sentinel://b/2", "one login and one database"),
        ("sentinel://:x@a;sentinel://:y@b", "one login and one database"),
        (";", "found nothing"),
    ],
)
def test_what_no_client_would_obey_is_refused(text: str, part: str) -> None:
    with pytest.raises(BadAddress, match=part):
        parse_list(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://me:hun/ter2@host",
        "redis://me:hun#ter2@host",
        "redis://me:1?hun=ter2@host",
        "redis://[hunter2",
    ],
)
def test_no_piece_of_a_password_is_in_the_sentence(text: str) -> None:
    with pytest.raises(BadAddress) as raised:
        parse(text)
    assert "hun" not in str(raised.value)
    assert "ter2" not in str(raised.value)


def connection(text: str) -> Connection:
    return Connection(text, transport=TRANSPORT)


def plain(one: Connection) -> str:
    """Its address; kombu 5.7 shows stars for a password, also where there is none."""
    return str(one.as_uri()).replace(":**@", "")


def test_every_broker_of_a_list_is_spoken_to_with_our_transport() -> None:
    """kombu takes its own from the scheme, with its visibility timeout and without our quarantine."""
    both = connection("redis://a:1/3;redis://b")
    seen = []
    for _ in range(3):
        seen.append((plain(both), type(both.transport) is Transport, both.transport.Channel is Channel))
        both.maybe_switch_next()
    first, second = ("redis://a:1/3", True, True), ("redis://b:6379/0", True, True)
    assert seen == [first, second, first]


def test_a_pools_connections_are_of_our_transport() -> None:
    made = connection("redis://a;redis://b").Pool(limit=2).new()
    made.maybe_switch_next()
    assert isinstance(made, Connection)
    assert type(made.transport) is Transport
    assert plain(made) == "redis://b:6379/0"


def test_sentinels_share_the_login_and_the_database_that_one_of_them_names() -> None:
    """kombu takes them from one address of the list, Celery's result store from another."""
    found = for_broker("sentinel://a;sentinel://me:p@b:7/3;sentinel://c/")
    assert found == "sentinel://me:p@a:26379/3;sentinel://me:p@b:7/3;sentinel://me:p@c:26379/3"
    assert for_results(parse_list(found)) == found


def test_sentinels_are_asked_with_our_transport_and_are_one_address() -> None:
    """To switch from one to the next would change nothing: each connection asks all of them."""
    for transport in (None, TRANSPORT):
        connection = Connection("sentinel://one/3;sentinel://two/3", transport=transport)
        assert connection.transport_cls == SENTINEL_TRANSPORT
        assert issubclass(connection.get_transport_cls(), Transport)
        assert issubclass(connection.get_transport_cls().Channel, Channel)
        connection.maybe_switch_next()
        assert (connection.hostname, connection.transport_cls) == ("one", SENTINEL_TRANSPORT)
        masked = ":**@"  # of a password that there is not: only newer versions of kombu show it
        assert connection.as_uri().replace(masked, "") == "sentinel://one:26379/3"
        pooled = connection.Pool(1).new()
        assert (pooled.transport_cls, pooled.cycle) == (SENTINEL_TRANSPORT, None)


@pytest.mark.parametrize("address", ["amqp://host", "sqs://", "redis-cluster://host"])
def test_no_connection_is_made_to_what_is_no_redis(address: str) -> None:
    with pytest.raises(BadAddress, match="wanted a redis://"):
        Connection(address, transport=TRANSPORT)


def test_a_socket_is_spoken_to_with_our_transport() -> None:
    one = connection("redis+socket:///run/v.sock?db=3")
    for each in (one, one.clone()):
        assert type(each.transport) is Transport
        assert each.hostname == "socket:///run/v.sock?virtual_host=3"


def test_the_result_store_and_redbeat_reach_a_socket() -> None:
    address = parse("redis+socket:///run/v.sock?db=3")
    store = RedisBackend(app=Celery(set_as_current=False), url=address.for_results)
    assert (store.connparams["path"], store.connparams["db"]) == ("/run/v.sock", 3)
    told = Redis.from_url(address.for_redbeat).connection_pool.connection_kwargs
    assert (told["path"], told["db"]) == ("/run/v.sock", 3)
