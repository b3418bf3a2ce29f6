"""What the frozen program runs."""

from corral.__main__ import main

main()
