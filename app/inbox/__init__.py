"""How exam requests become known: the webhook's claims, the poll, a person's import; and what Aurabox lacks of them."""
