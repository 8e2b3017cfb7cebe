"""The subcommands beside run, one file each."""
