"""Tables, figures and files drawn from result documents only."""
