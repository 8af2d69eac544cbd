"""The demo: the whole story told through the command line and the HTTP interface, and checked from outside."""
