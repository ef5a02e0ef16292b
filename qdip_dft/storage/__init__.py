"""SQLite and MongoDB stores, the results folder, and copying between them."""
