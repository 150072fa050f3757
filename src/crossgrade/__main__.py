"""`python -m crossgrade` is the command `crossgrade`."""

from crossgrade.cli import main

if __name__ == "__main__":
    main()
