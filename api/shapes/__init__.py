"""What requests and answers look like, one module a subject. They are the schemas of /openapi.json, and of the JSON that commands print."""
