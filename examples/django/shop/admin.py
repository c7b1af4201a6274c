from django.contrib import admin

from shop.models import Order, Turnover

admin.site.register([Order, Turnover])
