"""What several tests share; must hold no test."""
