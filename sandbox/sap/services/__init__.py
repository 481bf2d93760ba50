"""One module per SAP service: its typed model, and what it reads and writes."""
