"""What the platform's log lines are about: the name is for machines, the sentence for people.

A line is ``logger.warning(Event.STRANDED, {"jobs": 3})``: the standard library fills the sentence in, and
``celeriac/observe/logs.py`` keeps name and fields. Nothing of a job's arguments or result may be a field.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    # a job, as Celery tells of it
    JOB_RECEIVED = "Task %(name)s[%(id)s] received"
    JOB_SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
    JOB_RETRIED = "Task %(name)s[%(id)s] retry: %(exc)s"
    JOB_FAILED = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
    JOB_IGNORED = "Task %(name)s[%(id)s] %(description)s"
    JOB_REJECTED = "Task %(name)s[%(id)s] %(exc)s"

    # sending
    NOT_SENT = "%(jobs)d messages not sent, the dispatcher will: %(error)s, the first of them of job %(job)s"
    NO_MESSAGE = "job %(job)s has a row that no message can be made of"
    NOT_UNMARKED = "could not clear the mark of %(jobs)d unsent rows; they are found as strands"
    STRANDED = "%(jobs)d messages were lost by the broker, they are sent again"
    NOT_BOUND = "the broker is full: replies to remote control may not reach %(queue)s: %(error)s"
    ONE_AT_A_TIME = "the broker gives one message at a time: %(error)s"

    # attempts
    RELEASED = "released %(jobs)d jobs that were not finished"
    LOST_WITH_WORKER = "%(jobs)d jobs are lost with this worker, which was ended by %(error)s"
    LATE_OUTCOME = "late outcome refused: job %(job)s, attempt %(attempt)d"
    INVALID_JOB = "job %(job)s cannot be run: %(error)s"
    NOT_TRACED = "jobs are not traced in this process: %(error)s"
    COMMAND_REFUSED = "a remote control command was refused: %(error)s"
    UNKNOWN_CLAIMS = "%(jobs)d claims that this worker does not know of are released"
    ATTEMPT_TAKEN = "job %(job)s, attempt %(attempt)d was taken from this worker: it is stopped here"
    CANNOT_STOP = "this pool cannot stop a job; the outcome of %(job)s will be refused"
    CANNOT_TERMINATE = "job %(job)s cannot be terminated in this pool: it was asked to stop"
    WORKFLOW_MENDED = "job %(job)s, which Redis forgot, is %(became)s"

    # workers
    WORKER_DEAD = "worker %(worker)s is dead, %(jobs)d jobs of it are given back"
    DECLARED_DEAD = "the ledger held this worker to be dead: it signs on again; late outcomes are refused"
    LEDGER_IS_NEWER = "this version wants revision %(wanted)s and works with the newer %(revision)s"
    LEDGER_AWAY = "ledger away, outcomes are kept: %(error)s"
    LEDGER_NOT_READ = "the ledger cannot be read for the metrics: %(error)s"
    TURN_FAILED = "turn failed, it is tried again"
    TURN_NARROWED = "the database refused a part of the turn, each is taken by itself: %(error)s"
    OUTCOME_REFUSED = "outcome of job %(job)s, attempt %(attempt)d cannot be written: %(error)s"
    DELIVERY_REFUSED = "delivery of job %(job)s cannot be taken: %(error)s"
    OUTCOMES_LEFT = "the rows of %(jobs)d outcomes are locked: what this worker held is rescued by another"
    BACKOFF_FAILED = "the backoff of %(task)s raised %(error)s: the settings' own is used"
    DUTY_WAITS = "keeper: %(duty)s waits, the ledger is away: %(error)s"
    DUTY_FAILED = "keeper: %(duty)s failed, it is tried again"
    LEFT_BEHIND = "the ledger cannot be reached: what this worker held is rescued by another"
    NO_PULSE = "the liveness file cannot be written: %(error)s"
    NO_PROBES = "no probes on port %(port)d: %(error)s"
    REVOKE_NOT_TOLD = "revoke is in the ledger, the workers were not told: %(error)s"

    TASK_REFUSED = "jobs of task %(task)s are refused: %(error)s"

    # results
    RESULTS_AWAY = "the result store is away: asking the ledger"
    RESULT_NOT_KEPT = "result of job %(job)s is lost: %(error)s"
    RESULT_NOT_STORED = "result of job %(job)s not stored: %(error)s"
    FAILURE_NOT_STORED = "failure of job %(job)s not stored: %(error)s"
    CHORD_PART_LOST = "chord part of job %(job)s not counted: %(error)s"
    BODY_NOT_FAILED = "body %(job)s of a failed chord not failed yet: %(error)s"
    RESULTS_NOT_COPIED = "results of %(jobs)d jobs not copied: %(error)s"
    LEDGER_NOT_ASKED = "the ledger cannot be asked for results: %(error)s"

    # schedules
    SCHEDULES_FIRED = "beat: %(schedules)d schedules due, %(jobs)d jobs enqueued"
    SCHEDULE_REFUSED = "schedule %(schedule)r was not fired: %(error)s"
    SCHEDULE_DAMAGED = "schedule %(schedule)r cannot be fired: %(error)s"
    SCHEDULE_RETIRED = "static schedule %(schedule)r is not in beat_schedule any more: retired"
    STATIC_REFUSED = "beat_schedule: %(error)s"
    ONE_BY_ONE = "beat: %(schedules)d schedules cannot be fired together, trying one by one"
    NOT_FIRED = "beat: schedule %(schedule)r cannot be fired"
    NO_TURN = "beat: no turn, again in %(pause).1f s: %(error)s"
    LOCK_ACQUIRED = "beat: Acquired lock"
    LOCK_LOST = "beat: the lock was lost"
    LOCK_UNREACHABLE = "beat: the lock cannot be asked for, firing from the ledger alone: %(error)s"
    LOCK_LEFT = "beat: the lock is left to expire: %(error)s"
    NO_ENTRY = "schedule %(schedule)r has no entry in Redis: %(error)s"
    ENTRIES_WAIT = "entries in Redis are not up to date: %(error)s"
    ENTRIES_FAILED = "entries in Redis are not up to date"
