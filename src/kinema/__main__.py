"""`python -m kinema`: the command line, for launchers that start modules (torchrun -m kinema train …)."""

from kinema.cli import main

if __name__ == "__main__":
    main()
