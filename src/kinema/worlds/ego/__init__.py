"""A person's own view: a head that looks about, and a jointed hand that does tabletop tasks."""
