"""Every hook of Celery, kombu, billiard and redbeat that the platform stands on, and what breaks without it.

A new release that moves one of them fails here, in CI, with the sentence that says what to look at.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import pytest
from celery import Celery
from celery.app import trace
from celery.app.defaults import NAMESPACES, flatten
from celery.backends.base import Backend
from celery.backends.redis import RedisBackend
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.base import BasePool
from celery.concurrency.solo import TaskPool
from celery.worker.request import create_request_cls
from kombu.asynchronous.hub import Hub
from kombu.transport import redis, virtual

import celeriac
from celeriac.configuration import defaults, needed, transport_options
from celeriac.observe import logs
from celeriac.settings.platform import Settings
from celeriac.worker.pool.request import JobRequest
from tests.apps import build

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM = frozenset({"celery", "kombu", "billiard", "redbeat", "vine"})


class Hook(NamedTuple):
    """Something of Celery's that the platform overrides, calls or reads.

    Attributes:
        place: ``module:Class.attribute``; the attribute may be one that a method gives to ``self``.
        takes: how the parameters begin, behind ``self``; None where nobody passes any.
        without: what breaks when it is gone or is called otherwise.
    """

    place: str
    takes: str | None
    without: str

    @property
    def name(self) -> str:
        return self.place.rpartition(".")[2].rpartition(":")[2]


HOOKS = [
    # The door in
    Hook(
        "celery.app.amqp:AMQP._create_task_sender",
        "",
        "jobs are published without a row: nothing that is sent goes through the door",
    ),
    Hook(
        "celery.app.amqp:AMQP.as_task_v2",
        "task_id, name, args, kwargs, countdown, eta, group_id, group_index, expires, retries",
        "arguments are not checked and secrets stand in the headers",
    ),
    Hook("celery.app.amqp:AMQP.queues_cls", None, "a lane has no levels"),
    Hook("celery.app.amqp:AMQP.Queues", "queues", "lanes that tasks and routes name are not declared"),
    Hook("celery.app.amqp:AMQP.flush_routes", "", "a level in the name of the default queue is not heeded"),
    Hook("celery.app.routes:prepare", "routes", "the team's routers are not asked"),
    Hook("celery.app.amqp:Queues.__init__", "queues, default_exchange", "queues are no lanes"),
    Hook("celery.app.amqp:Queues._add", "queue", "a queue is declared without its levels"),
    Hook("celery.app.amqp:Queues.__setitem__", "name, queue", "a queue is declared without its levels"),
    Hook("celery.app.amqp:Queues.__missing__", "name", "a lane's own name is not understood"),
    Hook("celery.app.amqp:Queues.consume_from", None, "a worker without -Q draws one list of a lane"),
    Hook("celery.app.amqp:Queues._consume_from", None, "what -Q names is not drawn"),
    Hook("celery.app.amqp:Queues.aliases", None, "an alias of a queue is not understood"),
    Hook("celery.app.amqp:Queues.create_missing", None, "task_create_missing_queues is not obeyed"),
    Hook("celery.app.amqp:Queues.select", "include", "a worker with -Q gpu draws one list of the lane"),
    Hook("celery.app.amqp:Queues.select_add", "queue", "add_consumer adds one list of a lane"),
    Hook("celery.app.amqp:Queues.deselect", "exclude", "-X gpu leaves out one list of the lane"),
    Hook(
        "celery.worker.consumer.consumer:Consumer.add_task_queue",
        "queue, exchange, exchange_type, routing_key",
        "add_consumer adds one list of a lane",
    ),
    Hook(
        "celery.worker.consumer.consumer:Consumer.cancel_task_queue",
        "queue",
        "cancel_consumer leaves out one list of a lane",
    ),
    Hook("celery.app.amqp:AMQP.Connection", None, "Flower's broker page names our class as the broker"),
    Hook(
        "kombu.connection:Connection.as_uri", "include_password, mask", "Flower's broker page names our class"
    ),
    Hook("kombu.connection:Connection.__init__", "hostname, userid, password", "addresses are read by kombu"),
    Hook("kombu.connection:Connection._init_params", "hostname", "the second broker of a list is kombu's"),
    Hook(
        "kombu.connection:Connection._ensure_connection",
        "errback, max_retries",
        "no producer ever asks the second broker of a list",
    ),
    Hook("kombu.connection:Connection._info", "resolve", "a pool cannot make connections of ours"),
    Hook("kombu.connection:Connection.Pool", "limit", "a producer's connections are kombu's, not ours"),
    Hook("kombu.connection:ConnectionPool.new", "", "a producer's connections are kombu's, not ours"),
    Hook("kombu.connection:PooledConnection._pool", None, "a producer's connections are kombu's, not ours"),
    Hook("kombu.transport.redis:Channel._get_client", "", "libraries that do not fit are found out too late"),
    Hook(
        "kombu.connection:Connection.ensure_connection",
        "*args, **kwargs",
        "a worker comes back long after its broker",
    ),
    # The app and its configuration
    Hook("celery.app.base:Celery.current_worker_task", None, "what a coroutine enqueues has no parent"),
    Hook("celery.app.task:Task.request", None, "a coroutine does not know whose attempt it is"),
    Hook("celery.app.base:Celery.__init__", "main, loader, backend", "an app is no app of ours"),
    Hook("celery.app.base:Celery._load_config", "", "what a team configures is neither judged nor completed"),
    Hook("celery.app.base:Celery._pending_defaults", None, "defaults are lost after a refused configuration"),
    Hook("celery.app.base:Celery.add_defaults", "fun", "a team's defaults hide what the platform needs"),
    Hook("celery.app.base:Celery.config_from_object", "obj, silent", "a second configuration is half read"),
    Hook("celery.app.base:Celery.config_from_cmdline", "argv, namespace", "a worker's -- is not judged"),
    Hook("celery.app.base:Celery.AsyncResult", None, "a result cannot be awaited"),
    Hook("celery.result:AsyncResult._parents", "", "a chain whose first step failed is awaited for ever"),
    Hook("celery.result:AsyncResult._maybe_set_cache", "meta", "what was awaited is asked for again"),
    Hook("celery.result:AsyncResult._cache", None, "what was awaited is asked for again"),
    Hook("celery.result:AsyncResult.ignored", None, "a job without a result is awaited for ever"),
    Hook("celery.app.base:Celery.Worker", None, "what receivers set too late is dropped in silence"),
    Hook("celery.apps.worker:Worker.on_before_init", "quiet", "what celeryd_init sets is not judged"),
    Hook("celery.apps.worker:Worker.on_after_init", "purge", "what worker_init sets too late is dropped"),
    Hook("celery.app.task:Task.bind", "app", "a late setting does not reach the tasks"),
    Hook("celery.utils.collections:ChainMap.update", "*args", "what conf.update writes is not judged"),
    Hook("celery.utils.collections:ConfigurationView.__setitem__", "key, value", "a write is not judged"),
    Hook("celery.utils.collections:ConfigurationView.swap_with", "other", "conf is no longer ours once read"),
    Hook("celery.utils.collections:ChainMap.add_defaults", "d", "late defaults are not judged"),
    Hook("celery.utils.collections:ChainMap.__delitem__", "key", "what is taken back stays in force"),
    Hook("celery.utils.collections:ChainMap.pop", "key, *default", "what is taken back stays in force"),
    Hook("celery.utils.collections:ConfigurationView.clear", "", "what is taken back stays in force"),
    Hook("celery.utils.collections:ConfigurationView.__getitem__", "key", "a namespace hides layers"),
    Hook("celery.utils.collections:ConfigurationView._to_keys", "key", "a namespace hides layers"),
    Hook("billiard.common:_should_have_exited", None, "a child that is told to end records a failure"),
    Hook("celery.app.utils:Settings.copy", "", "a copy of the configuration lacks what is the platform's"),
    Hook(
        "celery.app.utils:Settings.__copy__", "", "a copy of the configuration lacks what is the platform's"
    ),
    Hook("celery.app.base:Celery._backend", None, "a closed app keeps its connection"),
    Hook("celery.app.base:Celery._backend_cache", None, "a late result store is not asked"),
    Hook("celery.app.base:Celery._local", None, "a late result store is not asked"),
    Hook("celery.app.base:Celery._pool", None, "a late broker is not used"),
    Hook("celery.app.amqp:AMQP._producer_pool", None, "a late broker is not used"),
    Hook("celery.app.amqp:AMQP._rtable", None, "late routes are not asked"),
    Hook("celery.app.base:Celery.amqp_cls", None, "nothing that is sent goes through the door"),
    Hook("celery.app.base:Celery.control_cls", None, "revoke does not reach the ledger"),
    Hook("celery.app.base:Celery.log_cls", None, "log lines have Celery's form, and show results"),
    Hook("celery.app.base:Celery._get_backend", "", "CELERY_RESULT_BACKEND brings a class of its own"),
    Hook("celery.app.base:Celery.create_task_cls", "", "a team's task_cls is none of ours"),
    Hook("celery.app.task:Task.annotate", "", "task_annotations take late acknowledgement away"),
    Hook("celery.app.log:Logging.setup_logging_subsystem", "loglevel, logfile", "logs have Celery's form"),
    Hook("celery._state:_get_active_apps", None, "an app that no module keeps cannot be unpickled"),
    Hook(
        "celery.utils.collections:ConfigurationView.__init__", "changes, defaults, keys, prefix", "no layers"
    ),
    Hook("celery.app.base:Celery.backend", None, "a test's results go to Redis"),
    Hook(
        "celery.backends.base:Backend.mark_as_done",
        "task_id, result, request, store_result, state",
        "a test's job has no result in its row",
    ),
    Hook("celery._state:default_app", None, "a job of a process without the app has no row"),
    Hook("celery.app.base:Celery.set_default", "", "a job of a process without the app has no row"),
    Hook("celery.app.amqp:AMQP.producer_pool", None, "a call revives a producer and a connection"),
    Hook(
        "celery.backends.asynchronous:AsyncBackendMixin.remove_pending_result",
        "result",
        "each AsyncResult that nobody asks costs a look when it is collected",
    ),
    Hook("celery.app.base:Celery._tasks", None, "the door does not find a task's own options"),
    Hook("celery.app.base:Celery.current_worker_task", None, "a retry cannot be told from a new job"),
    Hook(
        "celery.app.base:Celery.send_task",
        "name, args, kwargs, countdown, eta, task_id",
        "unknown tasks and broken ids are not refused at the call",
    ),
    Hook(
        "celery.app.base:Celery.producer_or_acquire",
        "producer",
        "nothing is sent, no group is written together",
    ),
    Hook(
        "kombu.connection:Connection._reraise_as_library_errors",
        "ConnectionError, ChannelError",
        "no job can be prepared: a call asks more of a producer's connection",
    ),
    Hook(
        "celery.app.base:Celery.connection_or_acquire", "connection", "nobody asks whether a queue is empty"
    ),
    Hook("celery.loaders.base:BaseLoader.import_default_modules", "", "a producer does not know the tasks"),
    Hook("celery.local:Proxy._get_current_object", "", "the app that is current cannot be found"),
    Hook("kombu.messaging:Producer.channel", None, "messages are published one by one, by kombu's own steps"),
    Hook(
        "celery.app.base:Celery.setup_security",
        "allowed_serializers, key, key_password, cert, store",
        "messages are not signed",
    ),
    Hook("celery.security.key:PrivateKey.sign", "data, digest", "a key that fits nothing is not noticed"),
    Hook(
        "celery.security.certificate:Certificate.verify",
        "data, signature, digest",
        "a certificate that does not fit is not noticed",
    ),
    Hook(
        "celery.security.certificate:FSCertStore.itercerts", "", "a store without certificates is not noticed"
    ),
    Hook("celery.app.control:Control.broadcast", "command, arguments", "a revoke is forgotten"),
    Hook("celery.app.control:Control.inspect", None, "a worker that is alone waits a second for answers"),
    Hook("celery.app.control:Inspect.hello", "from_node, revoked", "a worker that is alone waits a second"),
    Hook("celery.app.control:Control.mailbox", None, "a worker that is alone waits a second for answers"),
    Hook("kombu.transport.redis:Channel.get_table", "exchange", "a worker that is alone waits a second"),
    Hook("celery.app.control:Control.purge", "connection", "what a purge counted runs"),
    Hook("celery.app.control:Control.discard_all", "connection", "what it counted runs"),
    Hook("celery.app.control:Control.Mailbox", None, "inspect and revoke miss jobs of the lean lane"),
    Hook("kombu.pidbox:Mailbox.node_cls", None, "inspect and revoke miss jobs of the lean lane"),
    Hook("kombu.pidbox:Node.handle", "method, arguments", "inspect and revoke miss jobs of the lean lane"),
    Hook("kombu.transport.virtual.base:Channel.queue_purge", "queue", "what `celery purge` counted runs"),
    Hook("celery.app.task:Task._dump_pydantic_arguments", None, "enqueue_many sends models that are no JSON"),
    Hook("celery.app.task:Task._get_app", "", "enqueue_many does not know its app"),
    # A task
    Hook("celery.app.base:Celery.registry_cls", None, "a task on a base of its author's own is none of ours"),
    Hook("celery.app.base:Celery.task", "*args, **opts", "an async def is a task that never runs"),
    Hook(
        "celery.app.task:Task.start_strategy",
        "app, consumer",
        "an own Request tells no outcome",
    ),
    Hook("celery.app.task:Task.bind", "app", "a class that another app has bound acknowledges too early"),
    Hook("celery.app.task:Task.__trace__", None, "what follows a task is lost while the ledger is away"),
    Hook("celery.app.trace:trace_ok_t.retstr", None, "what follows a task is lost while the ledger is away"),
    Hook("celery.app.task:Task.__call__", "*args, **kwargs", "exceptions are final: nothing is retried"),
    Hook("celery.app.trace:task_has_custom", "task, attr", "Celery calls run() and passes by our __call__"),
    Hook("celery.app.task:Context._protected", None, "a call of a task from inside of a task is an attempt"),
    Hook("celery.app.task:Context.called_directly", None, "a plain call of a task is taken for an attempt"),
    Hook("celery.app.task:Context.is_eager", None, "apply() needs a ledger"),
    Hook("celery.app.task:Task.request_stack", None, "the running attempt cannot be found"),
    Hook("celery.app.task:Task.Request", None, "outcomes are lost: Celery's own request says nothing"),
    Hook(
        "celery.app.task:Task.apply_async",
        "args, kwargs, task_id, producer, link, link_error, shadow",
        "the platform's options are not passed on",
    ),
    Hook("celery.app.task:Task._get_exec_options", "", "a task's own priority is not given to its jobs"),
    Hook("celery.app.task:Task._exec_options", None, "a task's own priority is not given to its jobs"),
    Hook("celery.app.task:Task.priority", None, "a task's own priority is not given to its jobs"),
    Hook("celery.app.task:Task.max_retries", None, "the ledger's limit of tries is not Celery's"),
    Hook(
        "celery.app.task:Task.default_retry_delay", None, "retries wait three minutes in place of the backoff"
    ),
    Hook(
        "celery.app.task:Task.retry",
        "args, kwargs, exc, throw, eta, countdown, max_retries",
        "self.retry() does not hand its message to the ledger",
    ),
    Hook("celery.app.task:Task.on_replace", "sig", "a replacement is sent beside the job, not in its place"),
    Hook("celery.exceptions:Retry.__init__", "message, exc, when", "a retry loses what it carries"),
    Hook("celery.exceptions:Retry.__reduce__", "", "a retry loses what it carries on its way out of a child"),
    Hook(
        "celery.utils.time:get_exponential_backoff_interval",
        "factor, retries, maximum, full_jitter",
        "retry_backoff has another meaning than Celery's",
    ),
    # The gate
    Hook("celery.worker.consumer:Consumer.__init__", "on_task_request, init_callback", "no worker starts"),
    Hook("celery.worker.consumer:Consumer.start", "", "the ledger thread and the keeper are not started"),
    Hook("celery.worker.consumer:Consumer.shutdown", "", "outcomes are not written when a worker ends"),
    Hook(
        "celery.worker.consumer:Consumer.create_task_handler",
        "promise",
        "every delivery runs, also those that another worker has won",
    ),
    Hook(
        "celery.worker.consumer:Consumer.on_decode_error",
        "message, exc",
        "a broken body is not a dead letter",
    ),
    Hook(
        "celery.worker.consumer:Consumer.on_invalid_task", "body, message, exc", "a broken job runs for ever"
    ),
    Hook("celery.worker.consumer:Consumer.on_unknown_message", "body, message", "a broken job runs for ever"),
    Hook(
        "celery.worker.consumer:Consumer.on_unknown_task", "body, message, exc", "a broken job runs for ever"
    ),
    Hook(
        "celery.worker.consumer:Consumer.on_connection_error_before_connected",
        "exc",
        "a lost connection is taken for the end of the worker",
    ),
    Hook(
        "celery.worker.consumer:Consumer.on_connection_error_after_connected",
        "exc",
        "a lost connection is taken for the end of the worker",
    ),
    Hook("celery.worker.consumer:Consumer.on_close", "", "what was won is forgotten with the connection"),
    Hook("celery.worker.consumer:Consumer.strategies", None, "every task is unknown to the gate"),
    Hook(
        "celery.worker.consumer:Consumer.call_soon", "p, *args, **kwargs", "no child is terminated on request"
    ),
    Hook("celery.worker.consumer:Consumer.task_buckets", None, "rate limits keep jobs that are released"),
    Hook("celery.worker.consumer:Consumer.hub", None, "winners never reach the pool"),
    Hook("celery.worker.consumer:Consumer.controller", None, "a worker that stops still begins jobs"),
    Hook(
        "kombu.asynchronous.semaphore:LaxBoundedSemaphore.clear", "", "a worker that stops still begins jobs"
    ),
    Hook(
        "celery.worker.consumer:Consumer._limit_move_to_pool",
        "request",
        "a job that its rate limit lets go on counts as one that waits for it",
    ),
    Hook("celery.worker.consumer:Consumer.disable_rate_limits", None, "a limit that is off holds jobs back"),
    Hook("kombu.utils.limits:TokenBucket.expected_time", "tokens", "rate-limited jobs hold every place"),
    Hook("kombu.utils.limits:TokenBucket.contents", None, "rate-limited jobs hold every place"),
    Hook("kombu.utils.limits:TokenBucket.fill_rate", None, "rate-limited jobs hold every place"),
    Hook(
        "celery.worker.consumer:Consumer.on_task_request",
        None,
        "a job that cannot be handed to the pool keeps its place for ever",
    ),
    Hook("celery.worker.request:Request.execute_using_pool", "pool", "no job is handed to the pool"),
    Hook(
        "celery.worker.worker:WorkController.pool_putlocks", None, "more jobs begin than there are children"
    ),
    Hook("celery.worker.worker:WorkController.semaphore", None, "more jobs begin than there are children"),
    Hook("celery.worker.worker:WorkController.wait_for_soft_shutdown", "", "a cold shutdown waits for jobs"),
    Hook("celery.concurrency.base:BasePool.uses_semaphore", None, "more jobs begin than there are children"),
    Hook(
        "kombu.asynchronous.semaphore:LaxBoundedSemaphore.acquire",
        "callback",
        "more jobs begin than there are children",
    ),
    Hook(
        "kombu.asynchronous.semaphore:LaxBoundedSemaphore.release",
        "",
        "a job that cannot be handed to the pool keeps its place for ever",
    ),
    Hook("celery.worker.state:task_ready", "request", "a job that never began is shown as reserved"),
    Hook("celery.worker.autoscale:Autoscaler.max_concurrency", None, "an autoscaled pool never grows"),
    Hook("celery.worker.consumer:Consumer.connect", "", "a broker that refuses is asked without a pause"),
    Hook(
        "celery.worker.consumer:Consumer.ensure_connected",
        "conn",
        "while the broker is away no outcome is told and no time limit fires",
    ),
    Hook(
        "celery.worker.consumer:Consumer.timer_entries_before_start",
        None,
        "time limits that were set while the broker was away are forgotten with the next connection",
    ),
    Hook("kombu.utils.limits:TokenBucket.clear_pending", "", "rate limits keep jobs that are released"),
    Hook("kombu.asynchronous.hub:Hub.call_soon", "callback, *args", "winners never reach the pool"),
    Hook("kombu.asynchronous.hub:Hub.call_later", "delay, callback, *args", "no pause has an end"),
    Hook("kombu.asynchronous.hub:Hub.create_loop", None, "the pool is not served while the broker is away"),
    Hook("kombu.asynchronous.hub:Hub.on_tick", None, "each lost connection leaves something in the loop"),
    Hook("kombu.asynchronous.timer:Timer.cancel", "tref", "each lost connection leaves timers of the pool"),
    Hook("kombu.asynchronous.timer:Timer.queue", None, "a lost connection takes time limits along"),
    Hook("kombu.asynchronous.hub:Hub._ready_lock", None, "the ledger thread breaks the event loop's list"),
    Hook("kombu.asynchronous.hub:Hub._waker", None, "winners wait a second for the event loop"),
    # Prefork's pool, when a connection is lost or a worker stops
    Hook("celery.concurrency.base:BasePool._pool", None, "half-written jobs break the children's pipes"),
    Hook(
        "celery.concurrency.base:BasePool.num_processes", None, "the ledger thread does not see idle children"
    ),
    Hook("celery.concurrency.asynpool:AsynPool._active_writers", None, "half-written jobs break the pipes"),
    Hook(
        "celery.concurrency.asynpool:AsynPool._flush_writer",
        "proc, writer",
        "half-written jobs break the pipes",
    ),
    Hook("celery.concurrency.asynpool:AsynPool.outbound_buffer", None, "released jobs are given to children"),
    Hook(
        "celery.concurrency.base:BasePool.register_with_event_loop",
        "loop",
        "the pool is not served while the broker is away",
    ),
    Hook("celery.concurrency.base:BasePool.maintain_pool", None, "a dead child is not replaced meanwhile"),
    Hook(
        "celery.concurrency.asynpool:AsynPool._track_child_process", "proc, hub", "a reconnect ends a worker"
    ),
    Hook("billiard.pool:Pool._pool", None, "a child that just ended makes the next reconnect end the worker"),
    Hook("billiard.pool:ApplyResult.correlation_id", None, "a job that cannot be pickled stays in the pool"),
    Hook("billiard.pool:Pool._cache", None, "half-written jobs break the children's pipes"),
    Hook(
        "celery.concurrency.asynpool:_get_job_writer", "job", "half-written jobs break the children's pipes"
    ),
    Hook("billiard.pool:ApplyResult._write_to", None, "half-written jobs break the children's pipes"),
    Hook("billiard.pool:ApplyResult.discard", "", "released jobs are given to children"),
    Hook("billiard.process:BaseProcess._is_alive", "", "a stopping worker writes to a dead child"),
    # The burst pool
    Hook(
        "celery.events.dispatcher:EventDispatcher.__init__",
        None,
        "children tell of each job at once, which is slow",
    ),
    Hook(
        "celery.app.trace:LOG_RECEIVED", None, "a log does not say that a job of the lean lane was received"
    ),
    Hook("celery.worker.state:total_count", None, "`inspect stats` counts no job of the lean lane"),
    Hook("celery.worker.state:all_total_count", None, "Flower counts no job of the lean lane"),
    Hook("celery.concurrency:ALIASES", None, "`worker_pool = 'burst'` names nothing"),
    Hook("celery.bin.worker:WorkersPool", None, "Celery's command line does not take -P burst"),
    Hook("celery.concurrency.prefork:TaskPool.Pool", None, "-P burst is prefork"),
    Hook("celery.concurrency.base:BasePool.apply_async", "target, args, kwargs", "no job gets into a bundle"),
    Hook("celery.concurrency.base:BasePool.on_start", "", "there is no watch, and no limit fires"),
    Hook(
        "celery.concurrency.base:BasePool.on_terminate", "", "what is done is given back at a cold shutdown"
    ),
    Hook("celery.concurrency.base:BasePool.on_stop", "", "a warm shutdown cuts coroutines short"),
    Hook("celery.concurrency.base:BasePool.terminate_job", "pid, signal", "a revoke hits the next job"),
    Hook("celery.concurrency.base:BasePool._get_info", "", "`inspect stats` shows no time limits"),
    Hook("celery.concurrency.asynpool:AsynPool.Worker", None, "a child does not know what a bundle is"),
    Hook("celery.concurrency.asynpool:AsynPool.WorkerProcess", "worker", "no child has a page"),
    Hook(
        "celery.concurrency.asynpool:AsynPool.create_process_queues", "", "bundles are written piece by piece"
    ),
    Hook("celery.concurrency.asynpool:AsynPool._busy_workers", None, "no bundle is sent ahead"),
    Hook(
        "celery.concurrency.asynpool:AsynPool.on_job_ready",
        "job, i, obj, inqW_fd",
        "a child is busy for ever",
    ),
    Hook(
        "celery.concurrency.asynpool:AsynPool._create_write_handlers",
        "hub",
        "a dead child's bundle runs twice",
    ),
    Hook("celery.concurrency.asynpool:AsynPool._put_back", None, "a dead child's bundle runs twice"),
    Hook("celery.concurrency.asynpool:AsynPool._all_inqueues", None, "nobody knows which children are there"),
    Hook(
        "celery.concurrency.asynpool:AsynPool.create_result_handler",
        "",
        "failures are told when a bundle ends",
    ),
    Hook(
        "celery.concurrency.asynpool:ResultHandler.state_handlers",
        None,
        "failures are told when a bundle ends",
    ),
    Hook(
        "celery.concurrency.asynpool:ResultHandler.check_timeouts",
        None,
        "no limit fires while a worker stops",
    ),
    Hook(
        "celery.concurrency.asynpool:AsynPool._create_process_handlers",
        "hub",
        "coroutines of a dead child are held for ever",
    ),
    Hook(
        "celery.concurrency.asynpool:AsynPool._create_worker_process",
        "i",
        "nobody hears a child's coroutines",
    ),
    Hook(
        "celery.concurrency.asynpool:AsynPool._fileno_to_outq",
        None,
        "jobs that end while coroutines are waited for are told late",
    ),
    Hook(
        "celery.concurrency.asynpool:ResultHandler.handle_event",
        None,
        "jobs that end while coroutines are waited for are told late",
    ),
    Hook(
        "celery.concurrency.asynpool:ResultHandler._hub",
        None,
        "jobs that end while coroutines are waited for are told late",
    ),
    Hook("billiard.pool:Pool._processes", None, "nobody knows how many coroutines may run"),
    Hook("billiard.pool:Pool._worker_active", "worker", "a pool that shrinks kills coroutines"),
    Hook(
        "billiard.pool:Pool._join_exited_workers",
        "shutdown",
        "a worker that stops waits for a dead child's coroutines",
    ),
    Hook("celery.app.base:Celery.user_options", None, "`celery worker` has no --async-concurrency"),
    Hook("celery.bin.base:CeleryOption", None, "`celery worker` has no --async-concurrency"),
    Hook(
        "celery.apps.worker:Worker.on_consumer_ready",
        "consumer",
        "nobody says that a pool has no such option",
    ),
    Hook("billiard.pool:Pool._result_handler", None, "no limit fires while a worker stops"),
    Hook("billiard.pool:Pool._timeout_handler", None, "a hard limit does not end its child"),
    Hook("billiard.pool:TimeoutHandler._trywaitkill", "worker", "a hard limit does not end its child"),
    Hook("billiard.pool:ApplyResult._scheduled_for", None, "a bundle that waits in a child is not found"),
    Hook("billiard.pool:Worker.after_fork", "", "a soft limit hits the next job"),
    Hook("billiard.pool:Worker._make_child_methods", "loads", "max_tasks_per_child counts bundles"),
    Hook("billiard.pool:Worker.maxtasks", None, "max_tasks_per_child counts bundles"),
    Hook(
        "billiard.pool:Worker.max_memory_per_child", None, "max_memory_per_child is looked at once a bundle"
    ),
    Hook("celery.app.trace:fast_trace_task", "task, uuid, request, body", "no job gets into a bundle"),
    Hook("celery.app.trace:trace_task_ret", "name, uuid, request, body", "no job gets into a bundle"),
    Hook("celery.worker.strategy:default", "task, app, consumer", "no job gets into a batch"),
    # The outcome
    Hook("celery.worker.request:Request.__init__", "message, on_ack", "no attempt knows its number"),
    Hook("celery.worker.request:Request.acknowledge", "", "no outcome is told: every job is rescued as lost"),
    Hook("celery.worker.request:Request.reject", "requeue", "a rejected job is held for ever"),
    Hook("celery.worker.request:Request.on_accepted", "pid, time_accepted", "nobody knows what has begun"),
    Hook("celery.worker.request:Request.on_retry", "exc_info", "a retry counts as a success"),
    Hook(
        "celery.worker.request:Request.on_failure",
        "exc_info, send_failed_event, return_ok",
        "a failure counts as a success",
    ),
    Hook("celery.worker.request:Request.on_timeout", "soft, timeout", "a hard time limit is final"),
    Hook(
        "celery.worker.request:Request._announce_revoked",
        "reason, terminated, signum, expired",
        "a cancelled job counts as a success",
    ),
    Hook("celery.worker.request:Request._success_was_stored", "", "a job that was done runs again"),
    Hook("celery.worker.request:Request._request_dict", None, "no attempt knows its number"),
    Hook("celery.worker.request:Request._body", None, "every retry rewrites its row"),
    Hook("celery.worker.request:Request._task", None, "a retry does not know its backoff"),
    Hook("celery.worker.request:Request._app", None, "no outcome is told"),
    Hook("celery.worker.request:Request.ignore_result", None, "results are copied that nobody wants"),
    Hook("celery.worker.request:Request.send_event", "type, **fields", "Flower does not see retries"),
    Hook("celery.worker.request:Request.terminate", "pool, signal", "a hard cancel stops nothing"),
    Hook("celery.worker.request:Request.time_start", None, "a cancel cannot tell what has begun"),
    Hook("celery.worker.state:should_terminate", None, "a cold shutdown counts tries of what it cut short"),
    Hook("celery.worker.state:task_ready", "request", "a worker counts finished jobs as running"),
    Hook("celery.worker.state:requests", None, "a cancel does not find the running job"),
    Hook("celery.worker.state:revoked", None, "a cancelled job begins if it was won before"),
    Hook(
        "billiard.einfo:ExceptionWithTraceback.exc", None, "failures are told of the wrapping, not the error"
    ),
    Hook("billiard.einfo:ExceptionInfo.exception", None, "failures are told without their exception"),
    Hook("celery.utils.serialization:UnpickleableExceptionWrapper.exc_module", None, "a failure has no type"),
    Hook(
        "celery.utils.serialization:UnpickleableExceptionWrapper.exc_cls_name", None, "a failure has no type"
    ),
    Hook(
        "celery.utils.serialization:get_pickleable_exception",
        "exc",
        "an odd exception kills its child's answer",
    ),
    # The transport
    Hook(
        "kombu.transport.virtual.base:Message.__init__",
        "payload, channel",
        "garbage in a queue ends the worker",
    ),
    Hook("kombu.message:Message.errors", None, "what cannot be unpacked is dropped without a dead letter"),
    Hook("kombu.message:Message.delivery_tag", None, "garbage in a queue ends the worker"),
    Hook("kombu.message:Message.accept", None, "a pickle would be read"),
    Hook("kombu.transport.virtual.base:QoS.restore_at_shutdown", None, "messages are given back at shutdown"),
    Hook("kombu.asynchronous.timer:Timer.call_repeatedly", "secs, fun, args", "a worker grows with its jobs"),
    Hook("kombu.asynchronous.timer:Timer._queue", None, "a worker grows with its jobs"),
    Hook("kombu.common:QoS.increment_eventually", "n", "the prefetch count does not follow the jobs"),
    Hook("kombu.common:QoS.decrement_eventually", "n", "the prefetch count does not follow the jobs"),
    Hook("kombu.common:QoS.value", None, "the prefetch count does not follow the jobs"),
    Hook("celery.concurrency.base:BasePool.is_green", None, "a gevent pool blocks the ledger thread"),
    Hook("kombu.transport.redis:Channel.__init__", "*args, **kwargs", "our QoS is not used"),
    Hook("kombu.transport.redis:Channel.Message", None, "garbage in a queue ends the worker"),
    Hook("kombu.transport.redis:Channel.QoS", None, "messages are given back at shutdown"),
    Hook(
        "kombu.transport.redis:Channel.ack_emulation", None, "kombu keeps every message twice: half the speed"
    ),
    Hook("kombu.transport.redis:Channel.do_restore", None, "messages are given back beside the ledger"),
    Hook(
        "kombu.transport.redis:Channel.from_transport_options", None, "low_share and the timeouts do nothing"
    ),
    Hook("kombu.transport.redis:Channel._update_queue_cycle", "", "lanes are not drawn in the order of -Q"),
    Hook("kombu.transport.virtual:Channel._active_queues", None, "lanes are not drawn in the order of -Q"),
    Hook("kombu.transport.redis:Channel.active_fanout_queues", None, "replies are drawn as lists"),
    Hook("kombu.transport.redis:Channel._queue_cycle", None, "queues are not drawn by importance"),
    Hook(
        "kombu.transport.redis:Channel._create_client", "asynchronous", "a client is made for every message"
    ),
    Hook("kombu.transport.redis:Channel.Client", None, "no message is pushed: there is no connection for it"),
    Hook("kombu.transport.redis:Channel.pool", None, "no message is pushed: there is no connection for it"),
    Hook(
        "kombu.transport.redis:Channel._disconnect_pools", "", "a forked child uses its parent's connection"
    ),
    Hook(
        "kombu.transport.redis:Channel._queue_bind",
        "exchange, routing_key, pattern, queue",
        "nobody draws from a full broker any more, once its workers were started anew",
    ),
    Hook(
        "celery.backends.redis:SentinelBackend.connection_class_ssl", None, "a late reply is read for another"
    ),
    Hook("kombu.transport.redis:Channel._in_poll", None, "a server that hangs is asked for ever"),
    Hook("kombu.transport.redis:Channel._brpop_sent_at", None, "a server that hangs is asked for ever"),
    Hook("kombu.transport.redis:SentinelTransport.default_port", None, "sentinels are looked for at 6379"),
    Hook("kombu.transport.redis:SentinelChannel.from_transport_options", None, "no master is found"),
    Hook(
        "kombu.transport.redis:SentinelChannel._get_pool", "asynchronous", "sentinels are taken for servers"
    ),
    Hook("kombu.transport.redis:Channel._brpop_start", "timeout", "messages are drawn one by one"),
    Hook("kombu.transport.redis:Channel.brpop_timeout", None, "a lost connection is not noticed"),
    Hook("kombu.transport.redis:Channel.global_keyprefix", None, "queues are drawn without their prefix"),
    Hook("kombu.transport.virtual.base:QoS.can_consume", "", "a broker is asked for each message by itself"),
    Hook("kombu.transport.virtual.base:QoS.can_consume_max_estimate", "", "more is drawn than may be held"),
    Hook("kombu.transport.redis:Channel._brpop_read", "**options", "garbage in a queue ends the worker"),
    Hook("kombu.transport.redis:Channel._in_poll", None, "a worker waits for no further message"),
    Hook(
        "kombu.transport.redis:Channel._flush_brpop_reauth", "", "a new password never reaches the connection"
    ),
    Hook("kombu.transport.redis:Channel.conn_or_acquire", "client", "no list is known to be empty"),
    Hook(
        "kombu.transport.redis:Transport.connection_errors",
        None,
        "a broker that answers and refuses (READONLY, MISCONF) ends every worker",
    ),
    Hook(
        "kombu.transport.redis:Transport.register_with_event_loop",
        "connection, loop",
        "each lost connection leaves something in the loop",
    ),
    Hook(
        "kombu.transport.virtual.base:Transport.close_connection",
        "connection",
        "each lost connection leaves something in the loop",
    ),
    Hook("kombu.connection:Connection.completes_cycle", "retries", "a list of brokers is tried in a rush"),
    Hook(
        "kombu.transport.virtual.base:Transport.drain_events",
        "connection, timeout",
        "a worker of green threads draws two seconds late",
    ),
    Hook("kombu.transport.redis:Transport.Channel", None, "our channel is not used"),
    Hook(
        "kombu.transport.virtual.base:Transport._deliver", "message, queue", "no message reaches the consumer"
    ),
    Hook("kombu.utils.scheduling:priority_cycle.__init__", "it", "queues are not drawn by importance"),
    Hook("kombu.utils.scheduling:priority_cycle.update", "it", "queues are not drawn by importance"),
    Hook("kombu.utils.scheduling:priority_cycle.consume", "n", "queues are not drawn by importance"),
    Hook("kombu.utils.scheduling:priority_cycle.items", None, "queues are not drawn by importance"),
    # Results
    *(
        Hook(
            f"celery.backends.base:DisabledBackend.{name}", "*args, **kwargs", "a disabled store hides states"
        )
        for name in ("get_state", "get_status", "wait_for", "get_many")
    ),
    Hook(
        "celery.backends.asynchronous:AsyncBackendMixin._wait_for_pending",
        "result, timeout, on_interval",
        "chance chooses between a member's exception and its chord's",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.__init__",
        "host, port",
        "redis-py's own retries hold the ledger up",
    ),
    Hook("celery.backends.redis:RedisBackend.connparams", None, "redis-py's own retries hold the ledger up"),
    Hook(
        "celery.backends.redis:RedisBackend.ResultConsumer", None, ".get() waits for ever on a flushed Redis"
    ),
    Hook("celery.backends.redis:RedisBackend.on_task_call", "producer, task_id", ".delay() needs Redis"),
    Hook(
        "celery.backends.redis:RedisBackend.store_result",
        "task_id, result, state, traceback, request",
        "a job that did its work fails when Redis is away",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.mark_as_done",
        "task_id, result, request, store_result, state",
        "each short job costs a child two round trips to Redis",
    ),
    Hook(
        "celery.backends.redis:RedisBackend._get_result_meta",
        "result, state, traceback, request",
        "what a burst pool stores of a job is not what Celery stores",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.encode_result",
        "result, state",
        "what a burst pool stores of a job is not what Celery stores",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.encode",
        "data",
        "what a burst pool stores of a job is not what Celery stores",
    ),
    Hook(
        "celery.app.trace:task_has_custom",
        "task, attr",
        "a method that is called when a job has ended finds no result of it",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.on_chord_part_return",
        "request, state, result, propagate",
        "a job that did its work fails when Redis is away",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.apply_chord",
        "header_result_args, body",
        "a chord's body has no row: Redis may forget it",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.chord_error_from_stack",
        "callback, exc",
        "the body of a failed chord is parked for ever",
    ),
    Hook("celery.backends.redis:RedisBackend.ensure", "fun, args, **policy", "a worker waits 20 s for Redis"),
    Hook("celery.backends.redis:RedisBackend._set", "key, value, expires", "a result costs one request more"),
    Hook(
        "celery.backends.redis:RedisBackend.wait_for_pending",
        "result",
        ".get() in a transaction that enqueued its job waits for ever",
    ),
    Hook(
        "celery.backends.redis:RedisBackend.iter_native",
        "result",
        "a group's .get() in a transaction that enqueued its jobs waits for ever",
    ),
    Hook("celery.backends.redis:RedisBackend._get_task_meta_for", "task_id", "a forgotten result is PENDING"),
    Hook("celery.backends.redis:RedisBackend.mget", "keys", "results are not copied into the rows"),
    Hook(
        "celery.backends.redis:RedisBackend.get_key_for_task",
        "task_id",
        "results are not copied into the rows",
    ),
    Hook(
        "celery.backends.redis:ResultConsumer.on_after_fork", "", "a child waits on its parent's connection"
    ),
    Hook("celery.backends.redis:ResultConsumer.drain_events", "timeout", ".get() waits on a flushed Redis"),
    Hook(
        "celery.backends.redis:ResultConsumer.on_wait_for_pending",
        "result",
        ".get() fails when Redis is away",
    ),
    Hook("celery.backends.redis:ResultConsumer.consume_from", "task_id", ".get() fails when Redis is away"),
    Hook("celery.backends.redis:ResultConsumer.cancel_for", "task_id", ".get() fails when Redis is away"),
    Hook("celery.backends.redis:ResultConsumer.stop", "", "a closed app keeps its connection"),
    Hook("celery.backends.redis:ResultConsumer.subscribed_to", None, "a closed app does not subscribe again"),
    Hook("celery.backends.redis:ResultConsumer._pubsub", None, ".get() fails when Redis is away"),
    Hook("celery.backends.redis:ResultConsumer._pending_results", None, ".get() does not ask the ledger"),
    Hook(
        "celery.backends.redis:ResultConsumer.on_state_change",
        "meta, message",
        ".get() does not hear the ledger",
    ),
    Hook("celery.result:AsyncResult._maybe_set_cache", "meta", ".get() does not hear what another heard"),
    # Flower
    Hook("celery.signals:import_modules", None, "Flower listens everywhere without a password"),
    # Logs
    Hook("celery.signals:setup_logging", None, "log lines have Celery's form, and show results"),
    Hook("celery.app.trace:LOG_RECEIVED", None, "a line does not say which attempt it is about"),
    Hook("celery.app.trace:LOG_SUCCESS", None, "results stand in the log"),
    Hook("celery.app.trace:LOG_RETRY", None, "a line does not say which attempt it is about"),
    Hook("celery.app.trace:LOG_FAILURE", None, "a line does not say which attempt it is about"),
    Hook("celery.app.trace:LOG_IGNORED", None, "a line does not say which attempt it is about"),
    Hook("celery.app.trace:LOG_REJECTED", None, "a line does not say which attempt it is about"),
    Hook("celery.app.trace:info", "fmt, context", "results stand in the log"),
    Hook("celery.app.log:Logging.redirect_stdouts", "loglevel", "what a task prints is not in the log"),
    Hook("celery.utils.log:get_multiprocessing_logger", "", "what a pool says is not in the log"),
    # Traces
    Hook("celery.signals:task_prerun", None, "an attempt has no span"),
    Hook("celery.signals:task_postrun", None, "an attempt's span never ends"),
    Hook("celery.signals:worker_process_shutdown", None, "the last spans of a pool's child are lost"),
    Hook("celery.app.task:Context.get", "key", "an attempt does not find its trace"),
    Hook("celery.app.amqp:AMQP.send_task_message", None, "an enqueue has no span"),
    # The beat
    Hook("redbeat.schedulers:RedBeatScheduler.__init__", "app", "no beat starts"),
    Hook(
        "redbeat.schedulers:RedBeatScheduler.setup_schedule",
        "",
        "static schedules go to Redis, and a paused one is enabled by every start",
    ),
    Hook("redbeat.schedulers:RedBeatScheduler.tick", "min", "what Redis forgot is not fired"),
    Hook("redbeat.schedulers:RedBeatScheduler.close", "", "a beat that ends without Redis exits with 1"),
    Hook("redbeat.schedulers:RedBeatScheduler.lock", None, "two beats lead"),
    Hook("redbeat.schedulers:RedBeatScheduler.lock_key", None, "two beats lead"),
    Hook("redbeat.schedulers:RedBeatScheduler.lock_timeout", None, "no beat takes over"),
    Hook("celery.beat:Scheduler.max_interval", None, "a beat sleeps through due times"),
    Hook("redbeat.schedulers:acquire_distributed_beat_lock", "sender", "two beats lead at the start"),
    Hook("redbeat.schedulers:get_redis", "app", "the lock is asked for elsewhere"),
    Hook("redbeat.schedulers:RedBeatConfig.schedule_key", None, "no entry is seen in Redis"),
    Hook("redbeat.schedulers:RedBeatConfig.key_prefix", None, "no entry is seen in Redis"),
    Hook("redbeat.schedulers:RedBeatSchedulerEntry.generate_key", "app, name", "no entry is seen in Redis"),
    Hook("redbeat.decoder:RedBeatJSONEncoder.default", "obj", "no entry is seen in Redis"),
]

every_hook = pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.place)


# Each of them is there


def found(place: str) -> Any:
    """What is at ``module:Class.attribute``; AttributeError when it is not."""
    module, _, path = place.partition(":")
    value: Any = importlib.import_module(module)
    for name in path.split("."):
        if inspect.isclass(value) and not hasattr(value, name) and name in given_to_self(value):
            return None
        value = getattr(value, name)
    return value


@cache
def given_to_self(kind: type) -> frozenset[str]:
    """The attributes that methods of a class and of its bases give to ``self``."""
    names: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.split(".")[0] in UPSTREAM:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
            names |= {node.attr for node in ast.walk(tree) if is_given_to_self(node)}
    return frozenset(names)


def is_given_to_self(node: ast.AST) -> bool:
    stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    return stored and ast.unparse(node.value) == "self"  # type: ignore[attr-defined]


def parameters(function: Any) -> list[str]:
    """The names of its parameters behind ``self``, stars included."""
    names = [
        str(each).partition(":")[0].partition("=")[0]
        for each in inspect.signature(function).parameters.values()
    ]
    return names[1:] if names[:1] == ["self"] else names


@every_hook
def test_the_hook_is_where_it_was(hook: Hook) -> None:
    try:
        value = found(hook.place)
    except (AttributeError, ImportError) as exc:
        pytest.fail(f"{hook.place} is gone ({exc}): without it, {hook.without}")
    if hook.takes is not None:
        wanted = [name for name in hook.takes.split(", ") if name]
        takes = parameters(value)
        assert takes[: len(wanted) or None] == wanted, f"{hook.place} takes {takes}: {hook.without}"


def test_a_hook_that_is_gone_would_be_found() -> None:
    gone = Hook("celery.worker.request:Request.outlived", None, "nothing")
    with pytest.raises(pytest.fail.Exception, match=r"outlived is gone .* without it, nothing"):
        test_the_hook_is_where_it_was(gone)
    changed = Hook("celery.worker.request:Request.on_timeout", "timeout, soft", "nothing")
    with pytest.raises(AssertionError, match="takes"):
        test_the_hook_is_where_it_was(changed)


# All of them are named


def subclasses() -> Iterator[tuple[type, list[type]]]:
    """Our classes that have one of Celery's as base, each with those bases."""
    for module in pkgutil.walk_packages(celeriac.__path__, "celeriac."):
        # The one runs only in Alembic, the other in a Django project, and overrides nothing of Celery's.
        if not module.name.startswith(("celeriac.ledger.migrations", "celeriac.contrib.django")):
            for value in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(value) and value.__module__ == module.name:
                    bases = [base for base in value.__mro__ if base.__module__.split(".")[0] in UPSTREAM]
                    if bases:
                        yield value, bases


def overridden() -> list[tuple[type, str, type]]:
    """What our classes put in place of something of Celery's: class, name, the base that had it."""
    known_to_every_class = {"__module__", "__doc__", "__annotations__", "__dict__", "__weakref__"}
    return [
        (kind, name, next(base for base in bases if name in vars(base)))
        for kind, bases in subclasses()
        for name in vars(kind)
        if name not in known_to_every_class and any(name in vars(base) for base in bases)
    ]


def test_what_is_overridden_is_named_here() -> None:
    named = {hook.name for hook in HOOKS}
    missing = {f"{kind.__name__}.{name}" for kind, name, _ in overridden() if name not in named}
    of_abc = {"Conf.__abstractmethods__", "Conf._abc_impl"}  # which every such class has
    assert not missing - {"Celeriac.__reduce__"} - of_abc, "add them to HOOKS, with what breaks without them"
    assert len(overridden()) > 30


@pytest.mark.parametrize(
    ("kind", "name", "base"),
    [each for each in overridden() if isinstance(vars(each[0])[each[1]], FunctionType)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_an_override_takes_whatever_celery_passes(kind: type, name: str, base: type) -> None:
    theirs = inspect.signature(getattr(base, name)).parameters.values()
    named = [each.name for each in theirs if each.kind is each.POSITIONAL_OR_KEYWORD]
    ours = inspect.signature(getattr(kind, name))
    ours.bind("self", **dict.fromkeys(named[1:]))
    if name != "__init__":  # Celery makes them by keyword
        ours.bind(*named)
    if any(each.kind is each.VAR_KEYWORD for each in theirs):
        ours.bind("self", **dict.fromkeys(named[1:]), something_new=1)


def test_what_is_private_to_celery_is_named_here() -> None:
    named = {hook.name for hook in HOOKS}
    used: dict[str, str] = {}
    ours: set[str] = set()
    for path in (ROOT / "celeriac").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            ours |= names_given(node)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and is_private(node.attr):
                used.setdefault(node.attr, path.name)
    of_others = {"_mapping", "_replace"}  # of SQLAlchemy's rows, of named tuples
    unnamed = {name: file for name, file in used.items() if name not in ours | named | of_others}
    assert not unnamed, "add them to HOOKS, with what breaks without them"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def names_given(node: ast.AST) -> set[str]:
    """The names that a statement of ours gives to something."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return {node.attr}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return {node.id}
    return {node.asname or node.name} if isinstance(node, ast.alias) else set()


# They behave as they did


def test_celerys_request_class_leaves_our_outcomes_alone() -> None:
    """It is made for each task on top of ours, and puts its own methods in front of ours."""
    plain = Celery(set_as_current=False)
    task = plain.task(name="tests.hooks", shared=False)(_work)
    made = create_request_cls(JobRequest, task, TaskPool(), "here", None, app=plain)
    methods = {name for name, value in vars(made).items() if isinstance(value, FunctionType)}
    assert methods == {"execute_using_pool", "on_success"}, "a shadowed method of JobRequest is never called"
    assert made.__mro__[1] is JobRequest
    assert "on_success" not in vars(JobRequest), "it would never be called"


def _work() -> None:
    """Never run."""


def an_app() -> Any:
    return build(
        Settings(broker_url="redis://127.0.0.1:1/0", database_url="sqlite:///nowhere/ledger.db"),
        set_as_current=False,
    )


def test_celerys_tracer_goes_through_our_call() -> None:
    task = an_app().task(name="tests.hooks", shared=False)(_work)
    assert trace.task_has_custom(task, "__call__"), "Celery would call run(), and nothing would be retried"


def test_the_hub_is_woken_by_another_thread() -> None:
    """Each call is made while the hub sleeps, which it would do for a second."""
    hub = Hub()
    calls = 5
    seen: list[float] = []
    asleep = threading.Semaphore(1)

    def see() -> None:
        seen.append(time.monotonic())
        asleep.release()

    def call() -> None:
        for _ in range(calls + 1):  # the last one ends the sleep after the last that counts
            asleep.acquire(timeout=5)
            hub.call_soon(see)

    reading, writing = os.pipe()
    hub.add_reader(reading, list)  # a broker that is silent: without any socket the hub looks more often
    caller = threading.Thread(target=call)
    began = time.monotonic()
    caller.start()
    try:
        while len(seen) < calls and time.monotonic() - began < 10:
            next(hub.loop)
    finally:
        caller.join(5)
        hub.close()
        os.close(reading)
        os.close(writing)
    assert len(seen) >= calls
    assert seen[calls - 1] - began < 1, "winners wait for the event loop's next turn"


def test_a_pool_says_what_it_writes_for_whom() -> None:
    source = inspect.getsource(AsynPool._create_write_handlers)
    assert "job._writer = ref(cor)" in source, "half-written jobs break the children's pipes"
    assert "job._write_to = proc" in source, "half-written jobs break the children's pipes"


def test_a_pool_forgets_how_to_watch_a_child_that_ended() -> None:
    assert "proc._sentinel_poll = None" in inspect.getsource(AsynPool._untrack_child_process)
    source = inspect.getsource(AsynPool._track_child_process)
    assert "except AttributeError" in source, (
        "a child that just ended makes the next reconnect end the worker"
    )


def test_a_pool_shows_whole_messages_in_the_line_that_we_know() -> None:
    assert repr(logs.POOL_APPLIES) in inspect.getsource(BasePool.apply_async), "arguments stand in the log"


def test_celery_gives_a_jobs_lines_their_data() -> None:
    assert "extra={'data': context}" in inspect.getsource(trace.info), "a line does not name its job"


def test_the_redis_channel_reads_with_our_method() -> None:
    assert "_brpop_read" in redis.Channel.__init__.__code__.co_names, "garbage in a queue ends the worker"


def test_what_the_channel_is_told_is_known_to_it() -> None:
    told = set(transport_options(Settings(broker_url="redis://127.0.0.1:1/0")))
    of_the_connection = {"max_retries", "interval_start"}  # kombu.Connection's own policy
    ours = {"low_share", "foreign", "unpack_limit"}
    assert told - of_the_connection - ours <= set(redis.Channel.from_transport_options)


def test_what_celery_is_told_is_known_to_it() -> None:
    """A setting that Celery does not know is ignored without a word."""
    known = {name for name, _ in flatten(NAMESPACES)}
    known |= set(re.findall(r"_get\('(redis_backend_\w+)'\)", inspect.getsource(RedisBackend.__init__)))
    known |= set(re.findall(r"conf\.get\('(result_backend_\w+)'", inspect.getsource(Backend.__init__)))
    settings = Settings(broker_url="redis://127.0.0.1:1/0")
    told = needed(settings) | defaults(settings)
    assert {name for name in told if name not in known and not name.startswith("redbeat_")} == set()


@pytest.mark.parametrize("part", ["amqp", "control", "task_cls", "backend", "set_as_current"])
def test_celery_takes_our_parts(part: str) -> None:
    assert part in inspect.signature(Celery.__init__).parameters, f"Celery(…, {part}=…) is how ours is used"


def test_celery_is_made_of_our_parts() -> None:
    made = an_app()
    assert type(made.amqp).__module__ == "celeriac.enqueue.door"
    assert type(made.control).__module__ == "celeriac.operate.remote_control"
    assert issubclass(made.Task, importlib.import_module("celeriac.task.task").Task)
    assert type(made.backend).__module__ == "celeriac.task.results.store"


def test_a_message_that_cannot_be_unpacked_is_kept_with_its_error() -> None:
    """Where kombu raised instead, or decoded later, our message would not see it."""
    properties = {"delivery_tag": "tag", "delivery_info": {}}
    payload = {"body": "x", "properties": properties, "headers": {"compression": "zlib"}}
    assert len(virtual.Message(payload, channel=virtual.Channel).errors) == 1


def test_the_unacked_bookkeeping_can_be_switched_off() -> None:
    source = inspect.getsource(redis.Channel.__init__)
    assert "if not self.ack_emulation:" in source, "kombu keeps every message twice: half the speed"
