"""A pytest plugin: which tests are ``thorough``, those that ``make test`` leaves to ``make test-all``.

Most of the time of all tests goes into starting processes and servers. Those of ``make test`` find nearly
every fault in a part of it. Thorough is, by these rules alone,

1. the second database of a test whose subject is not SQL (``ONE_DATABASE``): PostgreSQL, since SQLite starts
   nothing. What is about SQL is asked on both, always. With workers and with Django's processes, whose start
   takes longer than a database's, the second one is SQLite (``WITH_PROCESSES``).
2. the same question to another pool (``OTHER_PLACES``), and to prefork wherever burst is asked.
3. what takes seconds of a processor for a test (``FILES``, ``TESTS``). It has a neighbour in ``make test``
   that looks at the same subject with one worker or none.
4. what tests the tests' own servers, processes and bounds: a fault of these is seen all over.

``pytest FILE`` runs all of a file, and CI runs all of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

TESTS_FOLDER = Path(__file__).resolve().parent

#: Files of tests/integration that ask what a page, a command, a call or a setting does, not what SQL does.
ONE_DATABASE = frozenset(
    {
        *("acting", "actions", "alerts", "api_tokens", "door", "export", "identity", "lanes", "metrics"),
        *(
            "console_access",
            "console_actions",
            "console_api",
            "console_bulk",
            "console_edit",
            "console_open_pages",
        ),
        *("console_pages", "console_pauses", "doctor", "maintenance", "mutes", "operations"),
        *("operator_commands", "pause_commands", "results", "schedule_import", "scheduler"),
        *("schedules", "series", "shared_broker", "signing", "task_ids", "worker_filter"),
    }
)

#: Where test_outcomes.py asks again what burst on PostgreSQL has answered.
OTHER_PLACES = ("burst-sqlite", "threads-postgresql", "solo-sqlite", "gevent-postgresql")

#: Where each test starts workers or a Django project.
WITH_PROCESSES = ("acceptance", "contrib")

#: Files by their place under tests/, and why they are slow. All of a folder where the name ends with a slash.
FILES: Mapping[str, tuple[str, ...]] = {
    "servers or workers are killed, frozen or moved, under load": (
        "acceptance/faults/",
        "acceptance/test_console_killed.py",
        "acceptance/test_drain.py",
        "acceptance/test_failover.py",
        "acceptance/test_move.py",
        "acceptance/test_moved_jobs.py",
        "acceptance/test_pauses.py",
        "acceptance/test_secured_sentinel.py",
        "acceptance/test_slow_ledger.py",
        "acceptance/test_taken.py",
        "acceptance/test_two_apps.py",
        "acceptance/test_two_schemas.py",
        "acceptance/test_upgrades.py",
        "integration/test_tls.py",
        "integration/test_upgrades.py",
    ),
    "each test has workers, services or commands of its own": (
        "acceptance/test_async_tasks.py",
        "acceptance/test_batches.py",
        "acceptance/test_burst.py",
        "acceptance/test_children.py",
        "acceptance/test_compose.py",
        "acceptance/test_coroutines.py",
        "acceptance/test_demo.py",
        "acceptance/test_foreign_queue.py",
        "acceptance/test_foreign_tasks.py",
        "acceptance/test_lanes.py",
        "acceptance/test_late_settings.py",
        "acceptance/test_limits.py",
        "acceptance/test_no_results.py",
        "acceptance/test_operator.py",
        "acceptance/test_prefetch.py",
        "acceptance/test_prefix.py",
        "acceptance/test_signing.py",
        "acceptance/test_start.py",
        "acceptance/test_task_ids.py",
        "acceptance/test_tracing.py",
        "acceptance/test_unique.py",
        "acceptance/test_up.py",
        "acceptance/test_worker_metrics.py",
        "integration/test_adoption.py",
        "integration/test_app_class.py",
        "integration/test_commands.py",
        "integration/test_examples.py",
        "integration/test_oidc.py",
        "integration/test_testing_page.py",
        "integration/test_two_schemas.py",
    ),
    "projects and packages as others make them": (
        "acceptance/test_examples_django.py",
        "acceptance/test_examples_fastapi.py",
        "acceptance/test_examples_flask.py",
        "acceptance/test_wheel.py",
        "contrib/test_django_testing.py",
        "contrib/test_django_versions.py",
        "pins/test_pins.py",
        "pins/test_pins_run.py",
        "integration/test_beside_alembic.py",
    ),
    "a browser": ("browser/",),
    "the tests' own servers, processes and bounds": (
        "integration/test_fork_server.py",
        "integration/test_servers.py",
        "test_forked.py",
        "test_timeouts.py",
    ),
    "inputs by chance": (
        "integration/test_api_fuzzing.py",
        "integration/test_ledger_machine.py",
        "simulation/test_broken_guards.py",
    ),
    "ledgers of other versions and servers are made": (
        "integration/test_fit_servers.py",
        "integration/test_table_names.py",
    ),
    "a large ledger": (
        "integration/test_cost.py",
        "integration/test_large_ledger.py",
        "integration/test_schedules_speed.py",
        "integration/test_stale_statistics.py",
    ),
}

#: Tests that take seconds of a processor each, of files that do not.
TESTS = frozenset(
    {
        "test_a_beat_that_takes_over_has_missed_nothing",
        "test_a_bulk_of_one_does_not_hold_up_another",
        "test_a_call_that_waits_too_long_is_refused_by_the_name_of_its_key",
        "test_a_child_that_dies_costs_each_of_its_jobs_one_try",
        "test_a_command_reads_the_settings_before_an_engine_with_models_can_be_imported",
        "test_a_commit_stands_while_the_broker_is_away",
        "test_a_database_that_falls_silent_is_never_half_told",
        "test_a_hard_cancel_of_one_that_runs_lets_the_others_be_tried_again",
        "test_a_hard_limit_ends_the_run_for_each_of_its_jobs",
        "test_a_job_that_expires_behind_a_busy_worker_never_starts",
        "test_a_job_that_is_cancelled_while_it_is_gathered_is_kept_from_the_run",
        "test_a_job_that_waits_for_a_rate_limit_is_cancelled",
        "test_a_job_whose_worker_is_killed_has_its_key_until_another_one_has_ended_it",
        "test_a_ledger_that_is_named_elsewhere_is_left_to_its_own_command",
        "test_a_message_that_is_sent_again_has_the_text",
        "test_a_pooler_in_transaction_mode_mixes_nothing",
        "test_a_series_has_every_step_of_its_range_and_each_end_once",
        "test_a_warm_shutdown_finishes_what_runs_and_gives_back_the_rest",
        "test_a_warm_shutdown_keeps_what_a_plain_producer_sent",
        "test_a_worker_delivers_as_each_answer_asks",
        "test_a_worker_is_live_until_it_is_killed",
        "test_a_worker_that_stops_gives_back_what_it_has_gathered",
        "test_a_worker_without_its_ledger_is_live_and_not_ready",
        "test_an_enqueue_joins_a_ledger_in_another_of_djangos_databases",
        "test_an_hour_of_a_sub_minute_interval_does_not_drift",
        "test_an_operation_goes_on_in_another_console",
        "test_beside_such_a_database_the_ledger_is_elsewhere_and_jobs_follow_the_commit",
        "test_broker_connections_that_are_cut_cost_nothing",
        "test_bulks_of_the_same_keys_in_other_orders_do_not_wait_in_a_circle",
        "test_catch_up_of_all_has_a_bound",
        "test_every_block_of_python_and_sql_runs",
        "test_it_is_where_django_reads_no_time_zones",
        "test_ledger_connections_that_are_cut_cost_nothing",
        "test_many_wait_without_a_thread_each",
        "test_migrate_makes_the_ledgers_tables_as_the_models_have_them",
        "test_migrate_takes_over_a_ledger_that_is_there",
        "test_migrate_to_zero_takes_the_tables_away_and_nothing_else",
        "test_next_runs_are_those_of_another_cron",
        "test_only_the_database_of_the_ledger_gets_its_tables",
        "test_q_draws_whole_lanes_level_first_then_in_its_order",
        "test_silent_connections_keep_nobody_out_and_are_bounded",
        "test_sixteen_who_admit_at_once_never_exceed_the_limit",
        "test_the_tables_of_django_are_copied_and_taken_back",
        "test_time_for_which_this_process_stood_still_is_not_the_servers",
        "test_upgrades_and_downgrades_concern_one_ledger",
        "test_what_a_worker_held_whose_loop_died_is_lost_and_counted",
        "test_what_could_harm_is_shown_as_text",
    }
)

_SLOW = tuple(place for places in FILES.values() for place in places)


def is_thorough(place: str, name: str) -> bool:
    """Whether a test is left to ``make test-all``.

    Args:
        place: of its file under tests/.
        name: of the test, with its parameters.

    >>> is_thorough("integration/test_door.py", "test_a_call[postgresql]")
    True
    >>> is_thorough("integration/test_ledger.py", "test_a_claim[postgresql]")
    False
    """
    folder, _, file = place.rpartition("/")
    test, _, parameters = name.rstrip("]").partition("[")
    if place.startswith(_SLOW) or test in TESTS:
        return True
    given = parameters.split("-")
    if folder in WITH_PROCESSES and not {"sqlite", "prefork"}.isdisjoint(given):
        return True
    if place == "acceptance/test_outcomes.py":
        return any(other in parameters for other in OTHER_PLACES)
    subject = file.removeprefix("test_").removesuffix(".py")
    return folder == "integration" and subject in ONE_DATABASE and "postgresql" in given


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "thorough: left to make test-all, see tests/tiers.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(TESTS_FOLDER).as_posix() if TESTS_FOLDER in item.path.parents else ""
        if is_thorough(place, item.name):
            item.add_marker(pytest.mark.thorough)
