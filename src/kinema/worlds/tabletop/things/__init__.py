"""Things with names: what each kind looks like, and how one is put on the table."""
