"""`python -m app.cli`: the same as the console script, for where that is not on the path."""

from app.cli import main

if __name__ == "__main__":
    main()
