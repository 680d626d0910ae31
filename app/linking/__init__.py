"""Which Clarius account belongs to which organisation: linking, confirming, comparing with Clarius's list."""
