import json
from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST

from celeriac.contrib.django.models import Job
from shop import orders
from shop.models import Order


@require_POST
def place(request: HttpRequest) -> JsonResponse:
    wanted = json.loads(request.body)
    try:
        order, job = orders.place(wanted["item"], wanted["amount"])
    except orders.TooMuchOpen:
        return JsonResponse({"error": "too much is waiting to be paid"}, status=409)
    return JsonResponse({"id": order.pk, "job": job}, status=202)


def show(request: HttpRequest, id: int) -> JsonResponse:
    order = get_object_or_404(Order, pk=id)
    return JsonResponse(
        {"id": order.pk, "item": order.item, "amount": order.amount, "receipt": order.receipt}
    )


def show_job(request: HttpRequest, id: UUID) -> JsonResponse:
    job = get_object_or_404(Job, pk=id)
    return JsonResponse({"task": job.task, "state": job.state, "tries": job.try_count})
