"""Everything that speaks to the outside; must not know the database, the web or a delivery's steps."""
