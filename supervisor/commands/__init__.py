"""What jobctl can do: one module a group of commands, each with the functions and, at its end, how they are called.

A module is light: what a command needs beyond the queue comes in inside its function, so that `jobctl list` is quick.
"""
