from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("orders", views.place),
    path("orders/<int:id>", views.show),
    path("jobs/<uuid:id>", views.show_job),
]
