"""`python -m gateway.cli`: the command for where no script is installed."""

from gateway.cli.main import main

main()
