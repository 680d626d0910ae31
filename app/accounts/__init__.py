"""Who may do what: organisations, users, sessions, invitations, single sign-on, and links to Clarius accounts."""
