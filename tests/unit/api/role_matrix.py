"""Who gets which answer from which route, of the API and of the admin service.

Written down by hand, apart from the rules in the code, so that one can be held against the other:
``tests/unit/api/test_api_access.py`` sees to it that every route has a row, and
``tests/integration/test_api_roles.py`` asks each as everyone. Whoever adds a route adds its row.
"""

from __future__ import annotations

CALLERS = ("none", "bad", "viewer", "editor", "admin", "operator", "stranger")
"""Who asks, in the order of the columns.

``none`` sends no token; ``bad`` one after the other a token that is garbage, has expired, belongs
to another client, is an id token, or names no tenant (which is 403 wherever others are 401).
``viewer``, ``editor`` and ``admin`` are of the tenant of what is asked for, which the editor owns;
``operator`` is an administrator of the tenant that operates the stage, ``stranger`` one of yet
another tenant.
"""

API: dict[tuple[str, str], str] = {
    # method and path                                      none bad  view edit adm  op   stranger
    ("GET", "/health/live"): "                             2xx  2xx  2xx  2xx  2xx  2xx  2xx",
    ("GET", "/health/ready"): "                            2xx  2xx  2xx  2xx  2xx  2xx  2xx",
    ("GET", "/api/openapi.json"): "                        2xx  2xx  2xx  2xx  2xx  2xx  2xx",
    ("POST", "/api/videos"): "                             401  401  403  2xx  2xx  2xx  2xx",
    ("GET", "/api/videos"): "                              401  401  2xx  2xx  2xx  2xx  2xx",
    ("GET", "/api/videos/{video_id}"): "                   404  401  2xx  2xx  2xx  404  404",
    ("PUT", "/api/videos/{video_id}"): "                   401  401  403  2xx  2xx  404  404",
    ("PATCH", "/api/videos/{video_id}"): "                 401  401  403  2xx  2xx  404  404",
    ("DELETE", "/api/videos/{video_id}"): "                401  401  403  2xx  2xx  404  404",
    ("GET", "/api/videos/{video_id}/upload"): "            401  401  403  2xx  2xx  404  404",
    ("POST", "/api/videos/{video_id}/upload/parts"): "     401  401  403  409  409  404  404",
    ("POST", "/api/videos/{video_id}/upload/complete"): "  401  401  403  409  409  404  404",
    ("POST", "/api/videos/{video_id}/upload/abort"): "     401  401  403  2xx  2xx  404  404",
    ("GET", "/api/usage"): "                               401  401  2xx  2xx  2xx  2xx  2xx",
    ("POST", "/api/videos/{video_id}/restore"): "          401  401  403  2xx  2xx  404  404",
    ("POST", "/api/videos/{video_id}/transcode"): "        401  401  403  409  409  404  404",
    ("POST", "/api/videos/{video_id}/transcode/cancel"): " 401  401  403  409  409  404  404",
    ("GET", "/api/videos/{video_id}/thumbnail"): "         401  401  2xx  2xx  2xx  404  404",
    ("PUT", "/api/videos/{video_id}/thumbnail"): "         401  401  403  409  409  404  404",
    ("DELETE", "/api/videos/{video_id}/thumbnail"): "      401  401  403  2xx  2xx  404  404",
    ("POST", "/api/videos/{video_id}/thumbnail/upload"): " 401  401  403  2xx  2xx  404  404",
    ("GET", "/api/videos/{video_id}/downloads"): "         404  401  409  409  409  404  404",
    ("POST", "/api/videos/{video_id}/downloads"): "        401  401  403  409  409  404  404",
    ("GET", "/api/videos/{video_id}/playback"): "          404  401  409  409  409  404  404",
    ("GET", "/api/videos/{video_id}/views"): "             401  401  2xx  2xx  2xx  404  404",
    ("GET", "/api/videos/{video_id}/runs/{run_id}/hls/{path:path}"): (
        "                                                  403  403  403  403  403  403  403"
    ),
    ("POST", "/api/webhooks"): "                           401  401  403  403  2xx  2xx  2xx",
    ("GET", "/api/webhooks"): "                            401  401  403  403  2xx  2xx  2xx",
    ("GET", "/api/webhooks/{webhook_id}"): "               401  401  403  403  2xx  404  404",
    ("PATCH", "/api/webhooks/{webhook_id}"): "             401  401  403  403  2xx  404  404",
    ("DELETE", "/api/webhooks/{webhook_id}"): "            401  401  403  403  2xx  404  404",
    ("POST", "/api/webhooks/{webhook_id}/rotate-secret"): (
        "                                                  401  401  403  403  2xx  404  404"
    ),
    ("POST", "/api/webhooks/{webhook_id}/test"): "         401  401  403  403  2xx  404  404",
    ("GET", "/api/webhooks/{webhook_id}/deliveries"): "    401  401  403  403  2xx  404  404",
    ("POST", "/api/webhooks/{webhook_id}/deliveries/{event_id}/redeliver"): (
        "                                                  401  401  403  403  2xx  404  404"
    ),
}
"""Answers of the API. The video of the path is shared with its tenant and has no file yet."""

ADMIN: dict[tuple[str, str], str] = {
    # method and path                                      none bad  view edit adm  op   stranger
    ("GET", "/health/live"): "                             2xx  2xx  2xx  2xx  2xx  2xx  2xx",
    ("GET", "/health/ready"): "                            2xx  2xx  2xx  2xx  2xx  2xx  2xx",
    ("GET", "/api/admin/openapi.json"): "                  2xx  2xx  2xx  2xx  2xx  2xx  2xx",
    ("GET", "/api/admin/users"): "                         401  401  403  403  2xx  2xx  2xx",
    ("POST", "/api/admin/users"): "                        401  401  403  403  2xx  2xx  2xx",
    ("GET", "/api/admin/users/{username}"): "              401  401  403  403  2xx  2xx  404",
    ("PUT", "/api/admin/users/{username}/groups"): "       401  401  403  403  2xx  2xx  404",
    ("POST", "/api/admin/users/{username}/disable"): "     401  401  403  403  2xx  2xx  404",
    ("POST", "/api/admin/users/{username}/enable"): "      401  401  403  403  2xx  2xx  404",
    ("POST", "/api/admin/users/{username}/sign-out"): "    401  401  403  403  2xx  2xx  404",
    ("GET", "/api/admin/tenants"): "                       401  401  403  403  403  2xx  403",
    ("POST", "/api/admin/tenants"): "                      401  401  403  403  403  2xx  403",
    ("GET", "/api/admin/tenants/{tenant}"): "              401  401  403  403  2xx  2xx  404",
    ("PUT", "/api/admin/tenants/{tenant}/quota"): "        401  401  403  403  403  2xx  403",
    ("GET", "/api/admin/stats"): "                         401  401  403  403  2xx  2xx  2xx",
    ("GET", "/api/admin/videos"): "                        401  401  403  403  2xx  2xx  2xx",
    ("GET", "/api/admin/videos/{video_id}"): "             401  401  403  403  2xx  2xx  404",
    ("DELETE", "/api/admin/videos/{video_id}"): "          401  401  403  403  2xx  2xx  404",
    ("GET", "/api/admin/jobs"): "                          401  401  403  403  403  2xx  403",
    ("GET", "/api/admin/jobs/dead-letters"): "             401  401  403  403  403  2xx  403",
    ("POST", "/api/admin/jobs/dead-letters/{message_id}/redrive"): (
        "                                                  401  401  403  403  403  2xx  403"
    ),
    ("GET", "/api/admin/audit"): "                         401  401  403  403  2xx  2xx  2xx",
}
"""Answers of the admin service. The user of the path is a viewer of the tenant."""


def expected(row: str) -> dict[str, str]:
    """Return the answers of a row by who asks."""
    return dict(zip(CALLERS, row.split(), strict=True))
