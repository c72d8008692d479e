"""Who calls the platform: users, tenants, and where access tokens come from."""
