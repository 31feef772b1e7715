"""Task families: what is on the table, what is asked, and when it is done."""
