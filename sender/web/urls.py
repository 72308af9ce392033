"""The addresses of pages."""

from django.urls import path

from sender.web import (
    context_templates,
    dashboard,
    destinations,
    history,
    people,
    search,
    sends,
    uploads,
)

urlpatterns = [
    path("", dashboard.dashboard, name="dashboard"),
    path("rates.csv", dashboard.rates_csv, name="rates_csv"),
    path("get-started/", dashboard.get_started, name="get_started"),
    path("search/", search.search, name="search"),
    path("sign-in/", people.sign_in, name="sign_in"),
    path("sign-out/", people.sign_out, name="sign_out"),
    path("setup/<str:token>/", people.setup, name="setup"),
    path("password/", people.password, name="password"),
    path("preferences/", people.preferences, name="preferences"),
    path("healthz/", people.healthz, name="healthz"),
    path("destinations/", destinations.destinations, name="destinations"),
    path("destinations/add/", destinations.destination_add, name="destination_add"),
    path("destinations/<int:number>/", destinations.destination, name="destination"),
    path(
        "destinations/<int:number>/change/",
        destinations.destination_change,
        name="destination_change",
    ),
    path("destinations/<int:number>/echo/", destinations.destination_echo, name="destination_echo"),
    path(
        "destinations/<int:number>/negotiate/",
        destinations.destination_negotiate,
        name="destination_negotiate",
    ),
    path("enquiries/<int:number>/", destinations.destination_enquiry, name="destination_enquiry"),
    path("templates/", context_templates.templates, name="templates"),
    path("templates/add/", context_templates.template_add, name="template_add"),
    path("templates/import/", context_templates.template_import, name="template_import"),
    path("templates/<int:number>/", context_templates.template, name="template"),
    path(
        "templates/<int:number>/versions/<int:version>/",
        context_templates.template,
        name="template_version",
    ),
    path(
        "templates/<int:number>/versions/<int:version>.json",
        context_templates.template_json,
        name="template_json",
    ),
    path(
        "templates/<int:number>/change/", context_templates.template_change, name="template_change"
    ),
    path("templates/<int:number>/clone/", context_templates.template_clone, name="template_clone"),
    path("uploads/", uploads.uploads, name="uploads"),
    path("uploads/<int:number>/delete/", uploads.upload_delete, name="upload_delete"),
    path("sends/", sends.sends, name="sends"),
    path("sends/new/", sends.send_new, name="send_new"),
    path("sends/<int:number>/", sends.send, name="send"),
    path("sends/<int:number>/progress/", sends.send_progress, name="send_progress"),
    path("sends/<int:number>/instances/", sends.send_instances, name="send_instances"),
    path("sends/<int:number>/instances.csv", sends.send_csv, name="send_csv"),
    path("sends/<int:number>/cancelling/", sends.send_cancel, name="send_cancel"),
    path("sends/<int:number>/<str:verb>/", sends.send_command, name="send_command"),
    path("history/", history.history, name="history"),
    path("history.csv", history.history_csv, name="history_csv"),
    path("history.json", history.history_json, name="history_json"),
    path("history/<int:number>/", history.association, name="association"),
    path("history/<int:number>.json", history.association_json, name="association_json"),
]
