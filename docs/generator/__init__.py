"""What the site has that nobody writes by hand: its reference, from the code that it is about."""
