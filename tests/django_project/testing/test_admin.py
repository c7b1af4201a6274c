"""Jobs in the admin: seen, replayed and cancelled by who may; never edited, added or deleted."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from celeriac import BadArgument, job
from celeriac.contrib.django.models import Job
from celeriac.testing import Kit
from shop.tasks import confirm, fail

LIST = "/admin/celeriac/job/"


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("_".join(permissions) or "nobody", is_staff=True)
    for name in permissions:
        user.user_permissions.add(Permission.objects.get(codename=name))
    client = Client()
    client.force_login(user)
    return client


def act(client: Client, action: str, *ids: str) -> str:
    response = client.post(LIST, {"action": action, "_selected_action": ids}, follow=True)
    return response.content.decode()


def test_the_list_shows_and_filters_jobs(celeriac: Kit) -> None:
    confirm.apply_async((1,), priority="high", user_id="ann", task_id="order-7")
    fail.delay("no stock")
    celeriac.drain()
    client = staff("view_job")
    everything = client.get(LIST).content.decode()
    assert "shop.tasks.confirm" in everything
    assert "ValueError: no stock" in everything
    for query, count in (
        ("state__exact=failed", 1),
        ("task=shop.tasks.confirm", 1),
        ("queue=high", 1),
        ("queue=low", 0),
        ("q=ann", 1),
        ("q=order-7", 1),
        ("q=shop.tasks.fail", 1),
        ("q=nothing", 0),
        ("queued__gte=2020-01-01+00:00:00%2B00:00", 2),
        ("queued__lt=2020-01-01+00:00:00%2B00:00", 0),
    ):
        response = client.get(f"{LIST}?{query}")
        assert response.context["cl"].result_count == count, query


def test_one_job_is_shown_with_its_attempts_and_without_what_is_sensitive(celeriac: Kit) -> None:
    id = fail.delay("no stock").id
    secret = confirm.apply_async((1,), kwargs=None).id
    celeriac.drain()
    page = staff("view_job").get(f"{LIST}{id}/change/").content.decode()
    assert "Traceback" in page
    assert "no stock" in page
    assert 'name="_save"' not in page
    assert staff("view_job", "replay_job").get(f"{LIST}{secret}/change/").status_code == 200


def test_a_job_is_replayed_by_who_may(celeriac: Kit) -> None:
    id = fail.delay("no stock").id
    celeriac.drain()
    act(staff("view_job"), "replay", id)
    assert job(id).state == "failed"
    assert "1 replayed" in act(staff("view_job", "replay_job"), "replay", id)
    assert job(id).state == "pending"
    assert LogEntry.objects.get().change_message == "replayed"


def test_a_job_is_cancelled_by_who_may(celeriac: Kit) -> None:
    id = confirm.delay(1).id
    act(staff("view_job"), "cancel", id)
    assert job(id).state == "pending"
    client = staff("view_job", "cancel_job")
    assert "1 cancelled" in act(client, "cancel", id)
    assert job(id).state == "cancelled"
    assert "0 cancelled, or asked to stop where they run; the others are over" in act(client, "cancel", id)


def test_nobody_adds_changes_or_deletes_a_job(celeriac: Kit) -> None:
    id = confirm.delay(1).id
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{id}/change/", {"state": "completed"}).status_code == 403
    assert client.post(f"{LIST}{id}/delete/", {"post": "yes"}).status_code == 403
    act(client, "delete_selected", id)
    assert job(id).state == "pending"


def test_who_may_not_view_sees_nothing(celeriac: Kit) -> None:
    assert staff().get(LIST).status_code == 403


def test_the_model_writes_nothing(celeriac: Kit) -> None:
    confirm.delay(1)
    found = Job.objects.get()
    for write in (
        found.save,
        found.delete,
        Job.objects.all().delete,
        lambda: Job.objects.update(state="failed"),
        lambda: Job.objects.create(task="x"),
        lambda: Job.objects.bulk_create([found]),
    ):
        with pytest.raises(BadArgument, match="not written through Django's models"):
            write()
    assert Job.objects.get().state == "pending"
