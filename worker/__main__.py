"""`python -m worker` is the command `mirrorstream`."""

from worker.system.stopping import end_at_once


def main() -> None:
    """Run the command; Ctrl-C has its meaning before the command is loaded, which takes half a second."""
    end_at_once()
    from worker.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
