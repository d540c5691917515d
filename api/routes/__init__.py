"""One module a subject, each with its `ROUTES`; `api.table` lists them."""
