"""Names in the user pool and in access tokens."""

from __future__ import annotations

TENANT_ATTRIBUTE = "tenant"
"""Custom attribute of a user; Cognito writes it ``custom:tenant``. No client may write it."""

TENANT_CLAIM = "tenant"
"""Claim of access tokens that names the tenant, put there by the pre-token-generation trigger."""

GROUPS_CLAIM = "cognito:groups"
"""Claim of access tokens that lists the groups of the user."""

ADMIN_GROUP = "admin"
EDITOR_GROUP = "editor"
VIEWER_GROUP = "viewer"

GROUPS: dict[str, str] = {
    ADMIN_GROUP: "Administers users, tenants and any video of its tenant",
    EDITOR_GROUP: "Uploads, changes and deletes videos",
    VIEWER_GROUP: "Watches videos",
}
"""The groups of the user pool, with their descriptions."""

TENANT_CHARACTERS = 64
"""Longest name of a tenant."""

NOBODY = "(nobody)"
"""What stands in place of the operators' tenant where a stage has none: no tenant's name."""
