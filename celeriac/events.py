"""The events that the platform logs. The name is for machines, the sentence for people.

Log one with ``logger.warning(Event.STRANDED, {"jobs": 3})``. The standard library fills in the sentence;
``celeriac/observe/logs.py`` adds name and fields. Arguments and results of jobs must never be fields.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    # a job, in Celery's own words
    JOB_RECEIVED = "Task %(name)s[%(id)s] received"
    JOB_SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
    JOB_RETRIED = "Task %(name)s[%(id)s] retry: %(exc)s"
    JOB_FAILED = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
    JOB_IGNORED = "Task %(name)s[%(id)s] %(description)s"
    JOB_REJECTED = "Task %(name)s[%(id)s] %(exc)s"

    # sending
    NOT_SENT = "the dispatcher will send %(jobs)d messages, first job %(job)s: %(error)s"
    NO_MESSAGE = "no message can be made of the row of job %(job)s"
    NOT_UNMARKED = "%(jobs)d unsent rows stay marked as dispatched; they are found as lost messages"
    STRANDED = "the broker lost %(jobs)d messages; they are sent again"
    NOT_BOUND = "the broker is full: replies to remote control may not reach %(queue)s: %(error)s"
    ONE_AT_A_TIME = "the broker does not know BLMPOP, it gives one message at a time: %(error)s"

    NOT_REPLAYED = "job %(job)s is not replayed: %(reason)s"

    # attempts
    RELEASED = "released %(jobs)d jobs that were not finished"
    LOST_WITH_WORKER = "%(error)s ended this worker; %(jobs)d jobs are lost with it"
    LATE_OUTCOME = "late outcome refused: job %(job)s, attempt %(attempt)d"
    INVALID_JOB = "job %(job)s cannot be run: %(error)s"
    NOT_TRACED = "jobs are not traced in this process: %(error)s"
    COMMAND_REFUSED = "a remote control command was refused: %(error)s"
    UNKNOWN_CLAIMS = "released %(jobs)d claims that this worker does not know of"
    ATTEMPT_TAKEN = "attempt %(attempt)d of job %(job)s was taken from this worker; it is stopped here"
    CANNOT_STOP = "this pool cannot stop a job; the outcome of %(job)s will be refused"
    CANNOT_TERMINATE = "this pool cannot terminate job %(job)s; the job was asked to stop"
    CALLBACK_FAILED = "the outcome of a job could not be told to Celery"
    LANE_CLOSED = "each job is made a request of Celery, which is slower, because of %(reasons)s"
    NO_EVENT_LOOP = "Celery runs without its event loop here, which the burst pool needs; the pool is prefork"
    NO_ASYNC_CONCURRENCY = (
        "--async-concurrency is for -P burst: this pool runs as many coroutines as it runs jobs"
    )
    NO_BUNDLES = "%(deaths)d children in a row died between two jobs; jobs are given to them one by one now"
    WORKFLOW_MENDED = "job %(job)s, which Redis forgot, is %(became)s"

    # workers
    WORKER_DEAD = "worker %(worker)s is dead; %(jobs)d of its jobs are given back"
    DECLARED_DEAD = "this worker was declared dead; it registers again, and its late outcomes are refused"
    LEDGER_IS_NEWER = "this version wants revision %(wanted)s and works with the newer %(revision)s"
    LEDGER_AWAY = "the ledger cannot be reached, outcomes are kept: %(error)s"
    NO_EXCHANGE = "short jobs are claimed and recorded by the ledger thread for a while: %(error)s"
    NOT_HANDED_ON = "permits are given on by the keeper alone for a while: %(error)s"
    LEDGER_NOT_READ = "the ledger cannot be read for the metrics: %(error)s"
    TURN_FAILED = "a turn of the ledger thread failed; it is tried again"
    TURN_NARROWED = "the database refused a turn, its parts are written one by one: %(error)s"
    OUTCOME_REFUSED = "the outcome of job %(job)s, attempt %(attempt)d cannot be written: %(error)s"
    DELIVERY_REFUSED = "the delivery of job %(job)s cannot be claimed: %(error)s"
    DONE_ELSEWHERE = "job %(job)s was delivered again after a worker without the ledger had run it"
    OUTCOMES_LEFT = "the rows of %(jobs)d outcomes are locked; another worker rescues these jobs"
    SUCCESSORS_KEPT = (
        "%(jobs)d jobs that follow an attempt, first %(job)s, are written with its outcome: %(error)s"
    )
    BACKOFF_FAILED = "the backoff of %(task)s raised %(error)s; the backoff of the settings is used"
    DUTY_WAITS = "keeper: %(duty)s waits, the ledger cannot be reached: %(error)s"
    DUTY_FAILED = "keeper: %(duty)s failed, it is tried again"
    BREAKER_CHANGED = "the breaker of the limit %(limit)s is %(state)s: %(reason)s"
    LEFT_BEHIND = "the ledger cannot be reached; another worker rescues the jobs of this one"
    NO_PULSE = "the liveness file cannot be written: %(error)s"
    NO_PROBES = "the probes cannot listen on port %(port)d: %(error)s"
    FOREIGN_WORKERS = (
        "workers of another ledger draw from the same lists (%(workers)s), each takes messages of the other: "
        "give each installation a CELERIAC_PREFIX or a Redis database of its own"
    )
    FOREIGN_MESSAGES = (
        "dropped messages of %(jobs)d jobs that the ledger does not have, one of %(task)s from %(origin)s: "
        "they were rolled back, or another installation sends to the same lists"
    )
    QUEUE_ADDED = "draws from %(queue)s, too"
    QUEUE_CANCELLED = "draws from %(queue)s no more"
    QUEUE_REFUSED = "no queue was added: %(error)s"
    REVOKE_NOT_TOLD = "the cancel is in the ledger; the broadcast to the workers failed: %(error)s"

    # the console
    CONSOLE_ACTION = "%(user)s began: %(action)s %(jobs)d jobs (%(filter)s)"
    CONSOLE_CHANGE = "%(user)s: %(action)s %(subject)s"
    CONSOLE_FAILED = "the console could not answer %(path)s"

    EVENT_LOOP_INTERRUPTED = "something that a job left behind tried to end the event loop"
    TASK_REFUSED = "jobs of task %(task)s are refused: %(error)s"

    # results
    RESULTS_AWAY = "the result store cannot be reached; the ledger is asked instead"
    RESULT_NOT_KEPT = "result of job %(job)s is lost: %(error)s"
    RESULT_NOT_STORED = "result of job %(job)s not stored: %(error)s"
    FAILURE_NOT_STORED = "failure of job %(job)s not stored: %(error)s"
    CHORD_PART_LOST = "job %(job)s was not counted as a finished member of its chord: %(error)s"
    BODY_NOT_FAILED = "the body %(job)s of a failed chord has not been failed yet: %(error)s"
    RESULTS_NOT_STORED = "results of %(jobs)d jobs not stored, their rows have them: %(error)s"
    RESULTS_FAILED = "results could not be stored, their rows have them"
    RESULTS_NOT_COPIED = "results of %(jobs)d jobs not copied: %(error)s"
    LEDGER_NOT_ASKED = "the ledger cannot be asked for results: %(error)s"

    # schedules
    SCHEDULES_FIRED = "beat: %(schedules)d schedules due, %(jobs)d jobs enqueued"
    SCHEDULE_REFUSED = "schedule %(schedule)r was not fired: %(error)s"
    SCHEDULE_DAMAGED = "schedule %(schedule)r cannot be fired: %(error)s"
    SCHEDULE_RETIRED = "static schedule %(schedule)r is no longer in beat_schedule; it is retired"
    STATIC_REFUSED = "beat_schedule: %(error)s"
    ONE_BY_ONE = "beat: a batch of up to %(schedules)d schedules failed, they are fired one by one"
    NOT_FIRED = "beat: schedule %(schedule)r cannot be fired"
    NO_TURN = "beat: a turn failed, the next one is in %(pause).1f s: %(error)s"
    LOCK_ACQUIRED = "beat: Acquired lock"
    LOCK_LOST = "beat: the lock was lost"
    LOCK_UNREACHABLE = "beat: the lock cannot be read, this beat fires without it: %(error)s"
    LOCK_LEFT = "beat: the lock was not released and will expire: %(error)s"
    NO_ENTRY = "schedule %(schedule)r has no entry in Redis: %(error)s"
    ENTRIES_WAIT = "entries in Redis are not up to date: %(error)s"
    ENTRIES_FAILED = "entries in Redis are not up to date"
