"""Who may sign in, and how: users, sessions, passwords, single sign-on, tokens of programs."""
