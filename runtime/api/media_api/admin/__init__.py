"""The admin service: users, tenants, any video, jobs and the audit trail.

A second service from the image of the API, behind ``/api/admin/*``, with a role of its own: what
the API, which takes what the world sends, must not be able to do. It is laid out like the API:
handlers (:mod:`media_api.admin.routes`), logic, data access.
"""
