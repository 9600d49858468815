"""The program: run trials, here and elsewhere, and the command line."""
