"""What an installation is told: settings, their rules, sealing keys, certificate authorities."""
