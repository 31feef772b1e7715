"""One file per command. Only the command line imports them."""
