"""`python -m spikard` is `spikard`."""

from spikard.cli import main

if __name__ == "__main__":
    main()
