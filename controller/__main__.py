"""Lets ``python -m controller`` stand for ``meltguard``."""

from controller.cli.main import main

main()
