class CannotStart(Exception):
    """A service or folder that cannot be used; the text is one line for the person at the shell."""
