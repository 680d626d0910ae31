"""The admin API (`/api/admin/v1/…`): JSON for programs, by bearer token only, so that no cookie can act in it."""
