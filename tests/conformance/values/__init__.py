"""Values without a server in between: ini files, parameters, JSON, and the Python interface, on both sides."""
