"""HTTP in: the webhook, the pages, the admin API, health. Parses, authorises, calls down, answers."""
