"""Celeriac in a Django project: the name for INSTALLED_APPS. docs/django.md tells how it is used."""

#: The label of the application, in the names of its permissions and for ``manage.py migrate``.
LABEL = "celeriac"
