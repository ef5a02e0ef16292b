"""Result documents: writing, finding and reading them."""
